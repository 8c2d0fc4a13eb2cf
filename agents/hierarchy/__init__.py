"""Hierarchies for programs: deciding, asking for decisions, answering."""

"""Conflicts for programs: saying what they are about to do, comparing findings, judging."""

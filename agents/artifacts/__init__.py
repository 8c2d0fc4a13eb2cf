"""Artifacts: contents that are kept beside the log and named in it by their checksum."""

"""Sagas for programs: defining them, running them, going on with those whose process died."""

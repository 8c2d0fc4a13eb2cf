"""The locks domain: locks, conditions and barriers, as pure rules."""

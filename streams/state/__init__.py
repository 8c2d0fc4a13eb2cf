"""The state domain: versioned keys that agents share, and what may be changed at once, as pure rules."""

"""The signals domain: events that agents emit, as pure rules."""

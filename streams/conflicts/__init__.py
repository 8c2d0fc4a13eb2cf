"""The conflicts domain: what agents intend and find, where that collides, and who goes first: pure rules."""

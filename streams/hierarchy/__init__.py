"""The hierarchy domain: who may decide what, who is asked, and what was decided, as pure rules."""

"""The triggers domain: patterns of signals, and what is recorded when one occurs, as pure rules."""

"""The waits domain: who waits for whom over all locks and pools, and the deadlocks that come of it, as pure rules."""

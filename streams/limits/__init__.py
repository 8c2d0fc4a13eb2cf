"""The limits domain: capacity pools and rate limits, as pure rules."""

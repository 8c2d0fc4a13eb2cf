"""The transactions domain: what is done in several scopes at once, or in none of them, as pure rules."""

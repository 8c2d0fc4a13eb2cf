"""Rate limits and capacity pools as agents use them."""

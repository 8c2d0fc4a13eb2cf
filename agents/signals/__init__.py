"""Events that agents emit and the handlers that react to them."""

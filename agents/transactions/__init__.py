"""Transactions over several scopes, as programs have them; see `accord.agents.transactions.transaction`."""

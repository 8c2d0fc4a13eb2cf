"""State for programs: reading and changing shared keys, transactions, watching them, a replica."""

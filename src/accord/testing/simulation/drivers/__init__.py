"""Programs of agents at the level of commands, one file a domain: what the simulator is exercised with."""

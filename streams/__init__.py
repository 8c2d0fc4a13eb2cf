"""The pure core: deciders, the chain, partition state and the writer's rules. No I/O, no clock, no randomness."""

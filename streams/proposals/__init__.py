"""The proposals domain: what agents vote on, and how votes are counted, as pure rules."""

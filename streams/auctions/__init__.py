"""The auctions domain: work that agents bid for, and who does it, as pure rules."""

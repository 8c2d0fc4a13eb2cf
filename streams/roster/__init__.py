"""The roster domain: teams of agents and who does what, as pure rules."""

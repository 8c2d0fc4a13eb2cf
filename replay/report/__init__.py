"""What a run was like: contention, critical paths, activity, agents, costs; as data and as a page."""

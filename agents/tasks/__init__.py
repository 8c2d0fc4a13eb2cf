"""Tasks for programs: graphs of steps, their submission, and the running of steps."""

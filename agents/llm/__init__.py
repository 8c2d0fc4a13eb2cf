"""Language models for programs: endpoints, calls with their costs on the log, answers that are reused."""

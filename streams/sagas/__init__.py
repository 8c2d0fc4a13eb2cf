"""The sagas domain: steps with compensations, run by processes that may die, as pure rules."""

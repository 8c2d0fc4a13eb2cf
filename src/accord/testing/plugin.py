"""The pytest plugin. Imports nothing of accord until a fixture is used."""

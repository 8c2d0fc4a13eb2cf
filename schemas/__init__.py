"""Avro contracts, codec, headers, positions, clocks and the topic table. Imports nothing else of accord."""

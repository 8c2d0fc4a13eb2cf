"""The worker: Faust and Kafka around the pure core."""

"""What stands in front of Django: nodes, streams, health, metrics."""

"""What each process tells Prometheus: one typed catalogue, and how its numbers come about."""

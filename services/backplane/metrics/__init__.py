"""Metrics of each process for Prometheus: one typed catalogue, and how its numbers come about."""

"""Contracts applied: creates and checks topics, registers schemas, and refuses what would break a reader."""

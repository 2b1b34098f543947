"""Capabilities and agents that end the process that does their work."""

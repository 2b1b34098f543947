"""Calls in, attempts and outcomes out: one process of the platform, a faust app around the engine of calls."""

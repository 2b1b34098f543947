"""Replay: a run's recorded commands decided again by today's core, and compared with the facts it left."""

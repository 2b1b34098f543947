"""Figures: what the platform does a second and how long one thing takes, as ratios to what raw Kafka does beside it.

``python -m tests.benchmarks``; nothing here is a test.
"""

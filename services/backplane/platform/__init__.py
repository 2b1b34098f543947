"""The local platform: real Kafka, a real registry and our own services as child processes on loopback, no Docker."""

"""The console: pages over the store, the log and the registry, served by one small process."""

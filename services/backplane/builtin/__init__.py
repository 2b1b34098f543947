"""The built-in providers: Python functions and one small HTTP server that work offline, on real input."""

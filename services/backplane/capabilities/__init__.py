"""The capability runtime: manifests say what can be called, the executor calls it, every attempt becomes a fact.

model.py manifest → registry.py → engine.py (shell) asks decide.py (core) and runs providers/ · app.py is the process.
"""

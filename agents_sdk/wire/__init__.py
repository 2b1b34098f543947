"""Bytes on the wire and back."""

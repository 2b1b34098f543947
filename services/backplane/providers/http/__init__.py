"""The provider that is an HTTP endpoint: one attempt is a few requests under one deadline, mapped to one outcome."""

from backplane.providers.http.attempts import HttpAttempts, make

__all__ = ["HttpAttempts", "make"]

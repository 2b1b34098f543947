"""How far a call is helped when an attempt fails: recovery as data."""

from __future__ import annotations

from pydantic import Field

from services.capabilities.model.part import Part


class Retry(Part):
    """When and how often one provider is tried again. The wait before attempt n+1 is stamina's
    ``min(wait_max, wait_initial * 2 ** (n - 1) + random(0, wait_jitter))``."""

    max_attempts: int = Field(default=3, ge=1, le=20)
    """Attempts at one provider, the first one included."""
    wait_initial_seconds: float = Field(default=0.1, ge=0)
    wait_max_seconds: float = Field(default=5.0, ge=0)
    """Also how long a Retry-After may be before the next provider is asked instead."""
    wait_jitter_seconds: float = Field(default=0.2, ge=0)

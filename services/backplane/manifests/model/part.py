"""The base of all parts of a manifest."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

ErrorClass: TypeAlias = Literal[
    "transient", "rate_limited", "invalid_request", "auth", "quota", "content_refused", "outage", "unknown"
]
"""Why an attempt failed, by what may help: trying again (transient, rate_limited, outage), or something else."""

NAME: Final = r"^[a-z][a-z0-9_]{0,62}$"


class Part(BaseModel):
    """A part of a manifest: unknown keys are refused, and nothing changes once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

"""What providers of every kind say, and the kind that is a Python function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from services.capabilities.model.part import NAME, Part
from services.capabilities.model.price import Price
from services.capabilities.model.reference import Reference, SecretReference


class Rate(Part):
    """How much one executor may ask of a provider in any minute; with several executors, give each its share."""

    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    """Of input and output together; until an attempt's are known it counts as a quarter of its params' characters."""


class AnyProvider(Part):
    """What providers of every kind say."""

    name: str = Field(pattern=NAME)
    timeout_seconds: float = Field(default=30.0, gt=0)
    """For one attempt; what is left of the call's own time is the other bound."""
    concurrency: int = Field(default=64, ge=1)
    """Attempts that one executor has open at this provider."""
    rate: Rate = Rate()
    price: Price | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    """Handed to the provider as it is: a Python function finds it in its context, a template as ``config``."""

    def references(self) -> Sequence[Reference | SecretReference]:
        """What must be found before the provider can be asked."""
        return []

    def missing(self, environment: Mapping[str, str], data_dir: Path) -> str:
        """What it lacks to be asked, in words; "" when it is ready."""
        return ", ".join(lack for each in self.references() if (lack := each.lack(environment, data_dir)))


class PythonProvider(AnyProvider):
    """A Python function ``(params, context) -> result``; a plain one runs in a thread, an async one on the loop."""

    kind: Literal["python"]
    function: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    """``package.module:function``; imported at the first attempt."""

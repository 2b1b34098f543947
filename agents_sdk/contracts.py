"""Declares what state values and messages must be; ``backplane contracts apply`` makes the ledger hold everybody to it.

Pure declaration, no I/O. Wrong use raises ValueError or TypeError at the line that does it.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final, Literal, TypeAlias

from agents_sdk.core import ids
from agents_sdk.core.commands import ContractBody
from agents_sdk.core.ledger.contracts import MESSAGE, PATTERN_LIMIT, STATE
from agents_sdk.core.ledger.reducers import REDUCERS, REPLACE
from agents_sdk.values import milliseconds

Reducer: TypeAlias = Literal["replace", "append", "merge", "counter", "set-union"]
SUBJECT: Final = "bp.contract."
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


class Contract:
    """The rule for values of a kind, in runs of one workflow or in all. Two contracts of one target, pattern and
    workflow: the one applied last holds. A workflow's own goes over one for all."""

    target: str

    def __init__(self, pattern: str, type_: Any, *, workflow: str = "") -> None:
        """``workflow``: only runs of this one are held to it; empty: all runs."""
        if not 0 < len(pattern) <= PATTERN_LIMIT:
            raise ValueError(f"pattern is {pattern!r}; use a glob of 1 to {PATTERN_LIMIT} characters")
        if len(workflow) > PATTERN_LIMIT:
            raise ValueError(f"workflow is {workflow!r}; use at most {PATTERN_LIMIT} characters, or leave it out")
        self.pattern = pattern
        self.workflow = workflow
        self.type = type_
        self.reducer = ""
        self.ttl_ms = 0

    @cached_property
    def schema(self) -> str:
        """The JSON Schema of the type, canonical JSON. Raises TypeError where pydantic knows none."""
        from pydantic import TypeAdapter
        from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

        try:
            return ids.canonical(TypeAdapter(self.type).json_schema())
        except (PydanticSchemaGenerationError, PydanticUserError) as error:
            raise TypeError(f"{self!r}: {self.type!r} has no JSON Schema: {error.message}") from error

    @property
    def subject(self) -> str:
        """The subject of its schema in the registry; characters that subjects do not take are written as ``~2f``."""
        return subject(self.target, self.pattern, self.workflow)

    def body(self, schema_id: int = 0) -> ContractBody:
        """The form for the ledger."""
        return ContractBody(
            target=self.target,
            pattern=self.pattern,
            schema=self.schema,
            reducer=self.reducer,
            schema_id=schema_id,
            ttl_ms=self.ttl_ms,
            workflow=self.workflow,
        )

    def __repr__(self) -> str:
        scope = f", workflow={self.workflow!r}" if self.workflow else ""
        return f"{type(self).__name__}({self.pattern!r}{scope})"


def subject(target: str, pattern: str, workflow: str = "") -> str:
    """The subject in the registry of a contract's schema; characters that subjects do not take are ``~2f``."""
    named = f"{pattern}@{workflow}" if workflow else pattern
    plain = (char if char in _PLAIN else "".join(f"~{byte:02x}" for byte in char.encode()) for char in named)
    return f"{SUBJECT}{target}.{''.join(plain)}"


class StateContract(Contract):
    """The rule for values of the state keys that ``pattern`` matches, and how concurrent writes are joined.

    ``type_`` is a pydantic model, a dataclass, or any type pydantic knows. ``reducer`` says what a write without
    ``expected_version`` does. It may ``replace`` the value, ``append`` an element to a list or ``merge`` an object into
    it (RFC 7396). It may add a number to a ``counter``, or add elements that are not there yet (``set-union``). The
    type is the one of the whole value. A write with ``expected_version``, and ``update``, always replace. A value
    expires ``ttl_seconds`` after its last write.
    """

    target = STATE

    def __init__(
        self,
        pattern: str,
        type_: Any,
        *,
        reducer: Reducer = REPLACE,
        ttl_seconds: float | None = None,
        workflow: str = "",
    ) -> None:
        super().__init__(pattern, type_, workflow=workflow)
        if reducer not in REDUCERS:
            raise ValueError(f"reducer is {reducer!r}; use one of {', '.join(REDUCERS)}")
        self.reducer = reducer
        self.ttl_ms = milliseconds("ttl_seconds", ttl_seconds)


class MessageContract(Contract):
    """The rule for data of messages whose name ``pattern`` matches; the input of runs is not checked."""

    target = MESSAGE

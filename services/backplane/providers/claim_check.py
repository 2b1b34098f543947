"""Files in results are stored, and their descriptors take their place (claim check)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from agents_sdk.artifacts import Artifact, ArtifactStore
from agents_sdk.errors import BackplaneError
from backplane.recovery.outcome import Answer, AttemptOutcome, Blob, Failure


def carries_files(value: Any) -> bool:
    """Whether a result has something to be stored."""
    if isinstance(value, dict):
        return any(map(carries_files, value.values()))
    if isinstance(value, list | tuple):
        return any(map(carries_files, value))
    return isinstance(value, Blob)


def checked(answer: Answer, store: ArtifactStore) -> AttemptOutcome:
    """The answer with its files stored. A store that fails is a failure of the attempt, whose effect happened: an
    unsafe call must not be done again for it."""
    try:
        return replace(answer, result=_stored(answer.result, store.put))
    except Exception as error:  # noqa: BLE001  # disks and stores fail in many ways; none undoes the effect
        message = error.message if isinstance(error, BackplaneError) else f"{type(error).__name__}: {error}"
        return Failure(
            error_class="outage",
            code="artifact_store",
            message=message,
            uncertain=True,
            usage=answer.usage,
            model=answer.model,
        )


def _stored(value: Any, put: Callable[[bytes, str], Artifact]) -> Any:
    if isinstance(value, dict):
        return {name: _stored(item, put) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_stored(item, put) for item in value]
    return put(value.content, value.mime).descriptor() if isinstance(value, Blob) else value

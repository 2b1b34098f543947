"""``ctx.artifacts``: the files of a run, by their content.

A file lies in the artifact store; the run has its descriptor under the state key ``artifacts/<sha256>``. So its writer
and readers are facts as those of any value. An agent's ``writes`` and ``reads`` say what it may, and lineage passes
through.
"""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from agents_sdk.artifacts import Artifact, ArtifactStore, UnknownArtifact
from agents_sdk.core import artifacts, ids, kinds
from agents_sdk.core.commands import StateBody
from agents_sdk.scope import Scope
from agents_sdk.state import State

UNKNOWN_KIND: Final = "application/octet-stream"


class RunArtifacts:
    """Puts and gets files of one run.

    Every operation may raise Unanswered or Unreachable, of the artifact store as well, and Refused: UnknownRun,
    RunFinished, ScopeDenied (the agent's ``reads`` or ``writes``).
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def put(self, content: bytes | Path, mime: str = "") -> Coroutine[Any, Any, Artifact]:
        """Keeps bytes, or a copy of a file, and returns its reference for calls and messages. The reference has hash,
        size in bytes, kind and the event that says so. ``mime``: the kind; by default what a file's name says, else
        ``application/octet-stream``. Equal content is kept once. The agent's ``writes`` need ``artifacts/*``.

        Raises OSError for a file that cannot be read.
        """
        return self._put(content, mime, self._scope.next_id())

    def get(self, artifact: str | Artifact | Mapping[str, Any]) -> Coroutine[Any, Any, bytes]:
        """The bytes of a file: of ``artifact:<sha256>``, or what ``put`` returned, or its descriptor as results of
        capabilities have it. That it was read is a fact, also of a file that a call made. The agent's ``reads`` need
        ``artifacts/*``.

        Raises:
            UnknownArtifact: it is no reference, or the store has no such file.
            ArtifactBroken: the store has something else in its place.
        """
        sha256 = _digest(artifact)
        return self._get(sha256, self._scope.ask(kinds.GET_STATE, StateBody(key=artifacts.key_of(sha256))))

    def list(self) -> Coroutine[Any, Any, list[str]]:
        """The references of the files that were put in this run, sorted; what calls made is in their results."""
        return self._list(State(self._scope))

    async def _put(self, content: bytes | Path, mime: str, command_id: str) -> Artifact:
        kept = await asyncio.to_thread(_kept, self._scope.requests.artifacts, content, mime)
        body = StateBody(key=artifacts.key_of(kept.sha256), value=ids.canonical(kept.descriptor()))
        reply = await self._scope.sent(self._scope.command(kinds.SET_STATE, body, command_id))
        return replace(kept, event_id=reply.event_id)

    async def _get(self, sha256: str, noted: Coroutine[Any, Any, Any]) -> bytes:
        await noted
        return await asyncio.to_thread(self._scope.requests.artifacts.get, sha256)

    @staticmethod
    async def _list(state: State) -> Any:
        listed = await state.list(artifacts.KEYS)
        return [artifacts.reference(one.key.removeprefix(artifacts.KEYS)) for one in listed]


def _kept(store: ArtifactStore, content: bytes | Path, mime: str) -> Artifact:
    if isinstance(content, Path):
        return store.put(content.read_bytes(), mime or mimetypes.guess_type(content.name)[0] or UNKNOWN_KIND)
    return store.put(content, mime or UNKNOWN_KIND)


def _digest(artifact: str | Artifact | Mapping[str, Any]) -> str:
    uri = artifact.get("uri", "") if isinstance(artifact, Mapping) else getattr(artifact, "uri", artifact)
    sha256 = artifacts.digest(str(uri))
    if sha256 is None:
        hint = "a reference is artifact: and 64 hexadecimal digits, as results of capabilities have it"
        raise UnknownArtifact(f"{artifact!r} is no reference of an artifact", hint=hint, sha256="")
    return sha256

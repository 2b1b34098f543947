"""Grants rights as an operator does, with the platform's master key. A shell: it reads who runs this process."""

from __future__ import annotations

import getpass
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agents_sdk.broadcast import broadcast
from agents_sdk.core import kinds
from agents_sdk.core.commands import GrantBody, RegistrationBody
from agents_sdk.core.identity import OPERATOR
from agents_sdk.core.ledger import rights
from agents_sdk.core.ledger.rules import RIGHTS

if TYPE_CHECKING:
    from agents_sdk.transport import Transport


NAMES: Final = "introduced"
"""In the data directory: names of clients, one a line. It only saves work: who is refused as unknown is introduced."""


def whoami() -> str:
    """The user of this process, as ``user@host``: facts name it as the operator."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def everything(name: str, **fields: object) -> GrantBody:
    """A grant of all rights to a client, by no role: a file of roles that does not name it takes nothing away."""
    lists = {right: ["*"] for right in (*RIGHTS, "contracts")}
    return GrantBody(name=name, client=True, operator=whoami(), **lists, **fields)  # type: ignore[arg-type]  # a list for each right


async def grant(transport: Transport, body: GrantBody) -> None:
    """Grants rights in every partition, as the operator. Raises Refused, Unanswered, Unreachable."""
    await broadcast(transport, OPERATOR, kinds.GRANT_RIGHTS, body)


async def grant_declared(transport: Transport, spec: RegistrationBody) -> None:
    """Grants what an agent declares. Raises as ``grant``."""
    lists = rights.asked(spec)
    body = GrantBody(name=spec.name, budget_nano_usd=spec.budget_nano_usd, operator=f"{whoami()} --trust", **lists)  # type: ignore[arg-type]  # a list for each right
    await grant(transport, body)


def introduced_before(folder: Path, name: str) -> bool:
    """Whether a client of this name was introduced by a process with this data directory."""
    try:
        return name in (folder / NAMES).read_text().splitlines()
    except (OSError, ValueError):
        return False


def note_introduced(folder: Path, name: str) -> None:
    """Remembers it, so that later processes need not say it again."""
    with suppress(OSError, ValueError), (folder / NAMES).open("a") as names:
        names.write(f"{name}\n")


async def introduce(transport: Transport, name: str) -> None:
    """Grants a client all rights, unless the platform knows its name. Raises as ``grant``."""
    await grant(transport, everything(name, unknown_only=True))

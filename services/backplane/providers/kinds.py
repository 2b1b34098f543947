"""The kinds of providers: one line each, and one file each with what asks it.

A kind is a model of its manifest (``manifests.model.Provider`` lists them) and the ``make`` of its file here. All other
differences are methods of the model (``AnyProvider``) and of ``Attempts``, so nothing asks for the kind.
tests/integration/test_provider_kinds.py holds the two lists equal, and holds every kind to the same promises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from backplane.manifests.model import Provider
from backplane.providers import http, mcp, python, subprocess
from backplane.providers.attempts import Attempts, Surroundings

KINDS: Final[dict[str, Callable[[Any, Surroundings], Attempts]]] = {
    "http": http.make,
    "mcp": mcp.make,
    "python": python.make,
    "subprocess": subprocess.make,
}
"""Kind → makes one that can be asked."""


def made(provider: Provider, around: Surroundings) -> Attempts:
    """The provider, ready to be asked."""
    return KINDS[provider.kind](provider, around)

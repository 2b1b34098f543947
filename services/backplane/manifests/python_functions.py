"""Python functions that a manifest names as ``package.module:function``."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Final

LOADING: Final = (ImportError, AttributeError, TypeError)
"""Faults of a function's path."""


def load(path: str) -> Callable[..., Any]:
    """The function of ``package.module:function``. Raises one of LOADING."""
    module, _, name = path.partition(":")
    function = getattr(importlib.import_module(module), name)
    if not callable(function):
        raise TypeError(f"{name!r} is not callable")
    return function  # type: ignore[no-any-return]  # callable, checked above

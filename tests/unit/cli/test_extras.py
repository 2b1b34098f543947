"""What a command lacks is told by the extra that brings it."""

from __future__ import annotations

import sys

import pytest

from backplane.cli import extras


def test_an_import_that_failed_names_its_extra() -> None:
    """A module of an extra; another one is an error like any other."""
    message, hint = extras.missing(ModuleNotFoundError("no", name="faust.types")) or ("", "")
    assert "faust.types" in message
    assert "pip install 'agent-backplane[platform]'" in hint
    assert extras.missing(ModuleNotFoundError("no", name="of_a_user")) is None
    assert extras.missing(ImportError("no")) is None


def test_parts_are_asked_for_what_they_are_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is started; a module that is loaded is there, whatever it says of itself."""
    import faust

    assert sys.modules["faust"] is faust
    extras.require(("executor", "console"))
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    for name in ("faust", "jmespath", "fastapi"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ModuleNotFoundError, match="faust"):
        extras.require(())
    monkeypatch.setitem(sys.modules, "faust", faust)
    extras.require(("ledger",))
    with pytest.raises(ModuleNotFoundError, match="jmespath"):
        extras.require(("executor",))

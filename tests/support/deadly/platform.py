"""The platform's parts; the executor is sooner found to hang."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from agents_sdk.core.identity import EXECUTOR
from backplane.platform.parts import TABLE as USUAL
from backplane.platform.parts import Part, python_part

ROOT: Final = Path(__file__).parents[3]


def _table() -> tuple[Part, ...]:
    made = python_part("executor", "tests.support.deadly.executor", worker=True, spare=True, user=EXECUTOR)
    return tuple(replace(made, nice=part.nice) if part.name == "executor" else part for part in USUAL)


TABLE: Final = _table()

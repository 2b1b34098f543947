"""``backplane image``: an image that a capability makes."""

from __future__ import annotations

from typing import Annotated

import typer

from backplane.cli.calling import CallOptions, OutOption, RunOption, TimeoutOption, finish, given, perform
from backplane.cli.output import (
    Budget,
    DataDir,
    JsonFlag,
)

Prompt = Annotated[str, typer.Argument(help="What it is to show.")]
Width = Annotated[int | None, typer.Option("--width", help="Pixels.")]
Height = Annotated[int | None, typer.Option("--height", help="Pixels.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Another number, another one; the same number, the same.")]


def image(
    prompt: Prompt,
    out: OutOption = None,
    subtitle: Annotated[str | None, typer.Option("--subtitle", help="A second, smaller line.")] = None,
    width: Width = None,
    height: Height = None,
    seed: Seed = None,
    run: RunOption = None,
    timeout: TimeoutOption = None,
    budget: Budget = None,
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Make an image, and print where it is: the file, or without --out its reference.

    --json tells its hash, size, kind and cost, and the event that holds them.
    """
    how = CallOptions(run=run, timeout=timeout, budget=budget, data_dir=data_dir)
    params = given(prompt=prompt, subtitle=subtitle, width=width, height=height, seed=seed)
    finish(perform("image_generation", params, how), how, out, as_json=as_json)

"""``backplane video``: a short video that a capability makes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backplane.cli.calling import CallOptions, OutOption, RunOption, TimeoutOption, finish, given, perform
from backplane.cli.image import Height, Prompt, Seed, Width
from backplane.cli.output import (
    Budget,
    DataDir,
    JsonFlag,
)


def video(
    prompt: Prompt,
    out: OutOption = None,
    frame: Annotated[
        list[Path] | None, typer.Option("--frame", "-f", help="An image to be shown; as often as wanted, in order.")
    ] = None,
    seconds: Annotated[float | None, typer.Option("--seconds", help="How long; 5 unless said.")] = None,
    width: Width = None,
    height: Height = None,
    fps: Annotated[int | None, typer.Option("--fps", help="Pictures a second.")] = None,
    seed: Seed = None,
    run: RunOption = None,
    timeout: TimeoutOption = None,
    budget: Budget = None,
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a short video, and print where it is: the file, or without --out its reference."""
    how = CallOptions(run=run, timeout=timeout, budget=budget, data_dir=data_dir)
    frames = [{"uri": how.upload(path)["uri"]} for path in frame or ()] or None
    params = given(prompt=prompt, frames=frames, seconds=seconds, width=width, height=height, fps=fps, seed=seed)
    finish(perform("video_generation", params, how), how, out, as_json=as_json)

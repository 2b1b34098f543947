"""``data_analysis``: SQL over files, answered by a ClickHouse engine (chDB) in a process of its own.

One process a question: chDB allows one engine a process. A question that runs away can be killed, and leaves nothing
for the next one. ``analysis_worker`` has the walls.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from backplane.providers.python import ProviderContext
from backplane.recovery.outcome import Blob, ProviderError

WORKER: Final = "backplane.builtin.analysis_worker"
START_SECONDS: Final = 30
"""To load the engine (0.6 s) and the inputs, on a busy machine; besides the question's own time."""
INPUT_BYTES: Final = 256 << 20
"""Of all inputs together: they are kept in the engine's memory."""
ANSWER_BYTES: Final = 512 << 10
"""Of rows; what is larger is read by nobody and belongs into a file."""
MIMES: Final = {
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "jsonl": "application/x-ndjson",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
}
FORMAT_OF: Final = {mime: name for name, mime in MIMES.items()}


def data_analysis(params: Mapping[str, Any], context: ProviderContext) -> dict[str, Any]:
    """The answer. Raises ProviderError(invalid_request) for what cannot be read or may not be asked."""
    output = str(params.get("output", "rows"))
    with tempfile.TemporaryDirectory(prefix="backplane-analysis-") as temporary:
        folder = Path(temporary)
        job = {
            "tables": [_table(each, place, folder, context) for place, each in enumerate(params["inputs"])],
            "sql": params["sql"],
            "output": output,
            "max_rows": int(params.get("max_rows", 1000)),
            "max_seconds": float(params.get("max_seconds", 20)),
        }
        _refuse_excess(job["tables"])
        answer = _ask(job, folder)
        if "file" in answer:
            return {"artifact": Blob((folder / answer["file"]).read_bytes(), MIMES[output])}
        return answer


def _table(given: Mapping[str, Any], place: int, folder: Path, context: ProviderContext) -> dict[str, str]:
    """Name, format and file of one input."""
    artifact = given.get("artifact") or {}
    kind = given.get("format") or ("csv" if "text" in given else FORMAT_OF.get(str(artifact.get("mime"))))
    if not kind:
        known = ", ".join(MIMES)
        message = f"input {given['name']!r} is {artifact.get('mime')!r}; say its format: one of {known}"
        raise ProviderError("invalid_request", message, code="unknown_format")
    if artifact:
        path = context.artifacts.file(artifact["uri"], folder)
    else:
        path = folder / f"input-{place}"
        path.write_text(str(given["text"]))
    return {"name": str(given["name"]), "format": str(kind), "path": str(path)}


def _refuse_excess(tables: Sequence[Mapping[str, str]]) -> None:
    size = sum(Path(table["path"]).stat().st_size for table in tables)
    if size > INPUT_BYTES:
        message = f"the inputs have {size} bytes, the limit is {INPUT_BYTES}"
        raise ProviderError("invalid_request", message, code="too_large")


def _ask(job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    limit = float(job["max_seconds"]) + START_SECONDS
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-m", WORKER, str(folder)],
            input=json.dumps(job).encode(),
            capture_output=True,
            timeout=limit,
            cwd=folder,
            env={"TMPDIR": str(folder)},  # where the engine puts its own files; and no key of ours for it to find
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ProviderError("transient", f"no answer within {limit:g} s", code="timeout") from error
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        ended = f"the engine ended with {done.returncode}: {''.join(last)}"
        raise ProviderError("invalid_request" if done.returncode < 0 else "unknown", ended, code="engine_ended")
    if len(done.stdout) > ANSWER_BYTES:
        message = (
            f"the rows have {len(done.stdout)} bytes, the limit is {ANSWER_BYTES}; ask for fewer, or `output: csv`"
        )
        raise ProviderError("invalid_request", message, code="too_large")
    answer: dict[str, Any] = json.loads(done.stdout)
    if refused := answer.get("refused"):
        raise ProviderError("invalid_request", refused["message"], code=refused["code"])
    return answer

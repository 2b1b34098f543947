"""YAML text → Capability; what is wrong is said with file, line, column and path. Pure but for reading files."""

from __future__ import annotations

from pathlib import Path

from agents_sdk.errors import BackplaneError
from backplane.manifests.model import Capability
from backplane.manifests.yaml_models import Flaw, validated


class ManifestError(BackplaneError):
    """A manifest that cannot be used; ``fields`` has ``file``, ``line`` and ``column`` (from 1) and ``path`` (dotted,
    may be "")."""

    code = "manifest"

    def __init__(
        self, problem: str, *, file: str, line: int = 1, column: int = 1, path: str = "", hint: str = ""
    ) -> None:
        where = f"{file}:{line}:{column}: " + (f"{path}: " if path else "")
        super().__init__(where + problem, hint=hint, file=file, line=line, column=column, path=path)


def read(path: Path) -> Capability:
    """The capability in the file. Raises ManifestError for the first problem."""
    capability, problems = examine(path)
    if capability is None:
        raise problems[0]
    return capability


def examine(path: Path) -> tuple[Capability | None, list[ManifestError]]:
    """The capability in the file, or all that is wrong with it."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return None, [ManifestError(f"cannot be read: {error}", file=str(path))]
    return _examined(text, str(path))


def parse(text: str, file: str) -> Capability:
    """The capability in the text; ``file`` is for messages. Raises ManifestError for the first problem."""
    capability, problems = _examined(text, file)
    if capability is None:
        raise problems[0]
    return capability


def _examined(text: str, file: str) -> tuple[Capability | None, list[ManifestError]]:
    found, flaws = validated(text, Capability, Flaw("a manifest is a mapping", hint="begin it with 'name: …'"))
    return found, [
        ManifestError(each.problem, file=file, line=each.line, column=each.column, path=each.path, hint=each.hint)
        for each in flaws
    ]

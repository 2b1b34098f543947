"""How facts name artifacts: files kept outside the log, by their content.

Lives here: the reference's form, and finding references in a payload. Not here: the files. Law: the same payload names
the same artifacts, so a replay gives the same facts.
"""

from __future__ import annotations

import re

SCHEME = "artifact:"
KEYS = "artifacts/"
"""How the state keys begin under which a run has the files that its agents put."""
_NAMED = re.compile(r"artifact:([0-9a-f]{64})(?![0-9a-f])")


def reference(sha256: str) -> str:
    """``artifact:<SHA-256 in hexadecimal>``."""
    return SCHEME + sha256


def key_of(sha256: str) -> str:
    """The state key under which a run has a file's descriptor."""
    return KEYS + sha256


def digest(text: str) -> str | None:
    """The SHA-256 that a reference, or a bare hash, names; None: the text is neither."""
    bare = text.removeprefix(SCHEME)
    return bare if re.fullmatch(r"[0-9a-f]{64}", bare) else None


def named(payload: str) -> list[str]:
    """The SHA-256 of each artifact that the JSON text refers to, in order of appearance, each once."""
    # most payloads name none, and a plain search is ten times faster than the pattern
    return list(dict.fromkeys(_NAMED.findall(payload))) if SCHEME in payload else []

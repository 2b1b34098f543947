"""Addresses as they may be shown: without what they hold of passwords and keys. Pure."""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = "***"
_USERINFO: Final = re.compile(r"(?<=://)[^/?#\s'\"]*@")
"""User and password before the host (RFC 3986 §3.2.1)."""
_PARAMETER: Final = re.compile(
    r"(?i)([?&;](?:[\w.-]*(?:password|passwd|secret|token|signature|credential|api[-_.]?key|access[-_.]?key)[\w.-]*"
    r"|key|sig|auth)=)[^&;#\s'\"]+"
)
"""Parameters by which addresses carry a secret."""


def shown(text: str) -> str:
    """The text, each address in it without user, password and parameters that are secrets."""
    return _PARAMETER.sub(rf"\g<1>{HIDDEN}", _USERINFO.sub(f"{HIDDEN}@", text))

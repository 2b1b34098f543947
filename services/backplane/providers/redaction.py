"""Keeps secrets out of what is recorded: providers quote keys in their errors, and some echo whole requests.

Pure. A secret shorter than ``SHORTEST`` is no secret, and taking it out would maim ordinary text.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote, quote_plus

SHORTEST: Final = 6
"""Characters."""
KEPT: Final = 16
"""Secrets of one provider that are remembered: the one in use, the ones before it that may still be on their way."""
MARK: Final = "[secret]"


class Redaction:
    """The secrets of one provider; its repr shows none."""

    def __init__(self) -> None:
        self._forms: dict[str, tuple[str, ...]] = {}

    def learn(self, secret: str) -> str:
        """From now on this is taken out; given back as it is."""
        if len(secret) >= SHORTEST and secret not in self._forms:
            self._forms[secret] = _forms(secret)
            while len(self._forms) > KEPT:
                del self._forms[next(iter(self._forms))]
        return secret

    def text(self, text: str) -> str:
        """The text without secrets."""
        for forms in self._forms.values():
            for form in forms:
                if form in text:
                    text = text.replace(form, MARK)
        return text

    def tree(self, value: Any) -> Any:
        """JSON without secrets, however they were escaped in its text."""
        if not self._forms:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(name): self.tree(item) for name, item in value.items()}
        return [self.tree(item) for item in value] if isinstance(value, list) else value

    def raw(self, content: bytes) -> bytes:
        """UTF-8 text, such as JSON, without secrets; it stays JSON."""
        for forms in self._forms.values():
            for form in forms:
                encoded = form.encode()
                if encoded in content:
                    content = content.replace(encoded, MARK.encode())
        return content


def _forms(secret: str) -> tuple[str, ...]:
    """The ways in which the secret may be written in a response, the longest first; none twice."""
    raw = secret.encode()
    escaped = {quote(secret, safe=""), quote_plus(secret), quote(secret)}
    forms = {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        json.dumps(secret)[1:-1].replace("/", "\\/"),
        html.escape(secret),
        html.escape(secret).replace("/", "&#x2F;"),
        *escaped,
        *(_small(form) for form in escaped),
        raw.hex(),
        raw.hex().upper(),
        *(form for shift in range(3) for form in _encoded(raw, shift)),
    }
    return tuple(sorted(forms, key=lambda form: (-len(form), form)))


def _small(escaped: str) -> str:
    """With the digits of its escapes in small letters."""
    return re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), escaped)


def _encoded(raw: bytes, shift: int) -> Iterator[str]:
    """As base64 where ``shift`` bytes stand before it: what is the same whatever stands around it, in both
    alphabets."""
    whole = base64.b64encode(b"\0" * shift + raw).decode()
    if shift == 0:
        yield from (whole, whole.rstrip("="), whole.translate(_URL_SAFE), whole.translate(_URL_SAFE).rstrip("="))
    first = (shift * 8 + 5) // 6
    last = (shift + len(raw)) * 8 // 6
    core = whole[first:last]
    if len(core) >= 2 * SHORTEST:
        yield from (core, core.translate(_URL_SAFE))


_URL_SAFE: Final = str.maketrans("+/", "-_")

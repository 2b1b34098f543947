"""Bodies of responses: read within bounds, decompressed within bounds, decoded by their charset, parsed.

A provider may be broken or hostile, so no dimension of its response is trusted. These are bytes on the wire, bytes
after decompression, the ratio of the two, the number of compressions, the depth of the JSON. Time is bounded by the
attempt.
"""

from __future__ import annotations

import codecs
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message
from typing import Any, Final, Protocol

import msgspec

from backplane.manifests.template import ABSENT

ENCODINGS: Final = "gzip, deflate"
"""The encodings that we accept: both can be decompressed piece by piece."""
MAX_ENCODINGS: Final = 2
"""Of one body: a server and a compressing proxy before it compress twice; more is an attack."""
PIECE: Final = 64 * 1024
"""Bytes that one step of decompression gives at most."""
MAX_RATIO: Final = 200
"""Bytes after decompression for one on the wire: JSON has 5 to 20, a bomb has 1,000 for each compression."""
FREE_OF_RATIO: Final = 1024 * 1024
"""Bytes that may come of however little: too few to do harm."""
MAX_DEPTH: Final = 200
"""Levels of nesting: schemas are checked to 255, and Python's own limit is 1,000 calls."""
_FORBIDDEN_CHARSETS: Final = frozenset(
    {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "utf-7", "mbcs", "oem"}
)
"""Codecs of Python that are no charsets of the web, or take quadratic time."""


class Unreadable(Exception):
    """A body that is not read to its end, or has no meaning; the text says why."""

    code = "undecodable_response"


class TooLarge(Unreadable):
    """It is above a limit of bytes."""

    code = "response_too_large"


class TooDeep(Unreadable):
    """Its JSON is nested too deeply."""

    code = "response_too_deep"


class Response(Protocol):
    """The part of a response that is read; httpx's and httpx2's have it."""

    @property
    def headers(self) -> Mapping[str, str]:
        """By name, in any case."""

    def aiter_raw(self) -> Any:
        """The bytes as they come."""


@dataclass(slots=True)
class Allowance:
    """How many bytes may still come, over all responses of an attempt."""

    limit: int
    decoded: int = field(init=False, default=0)
    wire: int = field(init=False, default=0)

    def receive(self, number: int) -> None:
        """So many more on the wire. Raises TooLarge."""
        self.wire += number
        if self.wire > self.limit:
            raise TooLarge(f"the response is above {self.limit} bytes")

    def spend(self, number: int) -> None:
        """So many more after decompression. Raises TooLarge."""
        self.decoded += number
        if self.decoded > self.limit:
            raise TooLarge(f"the response is above {self.limit} bytes")
        if self.decoded > FREE_OF_RATIO and self.decoded > MAX_RATIO * self.wire:
            raise TooLarge(f"the response decompresses to more than {MAX_RATIO} times its size")


async def read(response: Response, allowance: Allowance) -> bytes:
    """The body, decompressed. Raises Unreadable, and what the connection raises."""
    announced = response.headers.get("content-length", "")
    if announced.isdecimal() and len(announced) < 20 and int(announced) > allowance.limit - allowance.wire:
        raise TooLarge(f"the response is above {allowance.limit} bytes")
    chain = _decoders(response.headers.get("content-encoding", ""))
    received = bytearray()
    async for chunk in response.aiter_raw():
        allowance.receive(len(chunk))
        for piece in _through(chain, chunk):
            allowance.spend(len(piece))
            received += piece
    if received and not all(each.complete for each in chain):
        raise Unreadable("the response ends in the middle of its compression")
    return bytes(received)


class _Inflater:
    """One compression undone, a bounded piece at a time."""

    def __init__(self, name: str) -> None:
        self._object = zlib.decompressobj(zlib.MAX_WBITS if name == "deflate" else zlib.MAX_WBITS | 16)
        self._head: bytes | None = b"" if name == "deflate" else None
        """The first bytes of what is called deflate: some servers send the bare format, which HTTP does not mean."""

    @property
    def complete(self) -> bool:
        return self._object.eof

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """The value of these bytes. Raises Unreadable."""
        if self._head is not None:
            self._head, data = self._head + data, b""
            if len(self._head) < 2:
                return
            data, self._head = self._head, None
            if (data[0] << 8 | data[1]) % 31 or data[0] & 15 != 8:  # no header of zlib's (RFC 1950)
                self._object = zlib.decompressobj(-zlib.MAX_WBITS)
        while not self._object.eof:
            try:
                piece = self._object.decompress(data, PIECE)
            except zlib.error as error:
                raise Unreadable(f"the response cannot be decompressed: {error}") from None
            data = self._object.unconsumed_tail
            if piece:
                yield piece
            if not data and len(piece) < PIECE:
                return


def _decoders(header: str) -> list[_Inflater]:
    names = [name for each in header.split(",") if (name := each.strip().lower()) not in ("", "identity")]
    if len(names) > MAX_ENCODINGS:
        raise Unreadable(f"the response is compressed {len(names)} times")
    for name in names:
        if name not in ("gzip", "x-gzip", "deflate"):
            raise Unreadable(f"the response has the encoding {name!r:.60}, which was not asked for")
    return [_Inflater(name) for name in reversed(names)]


def _through(chain: Sequence[_Inflater], chunk: bytes) -> Iterator[bytes]:
    if not chain:
        yield chunk
        return
    for piece in chain[0].pieces(chunk):
        yield from _through(chain[1:], piece)


def text_of(raw: bytes, content_type: str, *, lenient: bool = False) -> str | None:
    """The body as text: by its byte order mark, else its declared charset, else as UTF-8; None where none of them fits.
    ``lenient``: what does not fit is replaced instead, for the words of an error."""
    for charset in _charsets(raw, content_type):
        try:
            return raw.decode(charset).removeprefix("\ufeff")
        except (UnicodeError, ValueError):
            continue
    return raw.decode("utf-8", errors="replace") if lenient else None


def _charsets(raw: bytes, content_type: str) -> Iterator[str]:
    if (marked := json.detect_encoding(raw)) != "utf-8":
        yield marked
    if declared := _declared(content_type):
        yield declared
    yield "utf-8"


def _declared(content_type: str) -> str:
    """The charset that the header names, where Python has it; else ""."""
    message = Message()
    message["content-type"] = content_type.replace("\r", "").replace("\n", "")
    try:
        named = message.get_content_charset() or ""
        known = codecs.lookup(named) if named and "\0" not in named else None
    except (LookupError, ValueError):
        return ""
    # codecs that are no text, such as zlib's, would decompress without bounds
    text = known is not None and known._is_text_encoding
    return known.name if known and text and known.name.replace("-", "_") not in _SPELLED else ""


_SPELLED: Final = frozenset(name.replace("-", "_") for name in _FORBIDDEN_CHARSETS)


def parse(raw: bytes | str) -> Any:
    """The JSON; ABSENT when it is none. Raises TooDeep."""
    encoded = raw.encode("utf-8", errors="surrogatepass") if isinstance(raw, str) else raw
    try:
        value = msgspec.json.decode(encoded)
    except ValueError:  # msgspec's own errors, and those of bytes that are no UTF-8
        return ABSENT
    except RecursionError:
        raise TooDeep(f"the JSON is nested more than {MAX_DEPTH} levels deep") from None
    refuse_depth(value)
    return value


def refuse_depth(value: Any) -> None:
    """Raises TooDeep for JSON whose nesting others would stumble over. No recursion: it is what this protects from."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = (
            [
                inner
                for outer in level
                for inner in (outer.values() if isinstance(outer, dict) else outer)
                if isinstance(inner, dict | list | tuple)
            ]
            if level and isinstance(level[0], dict | list | tuple)
            else []
        )
        if not level:
            return
    raise TooDeep(f"the JSON is nested more than {MAX_DEPTH} levels deep")

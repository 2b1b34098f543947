"""Bodies of responses are read within bounds, whatever they are made of."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backplane.manifests.template import ABSENT
from backplane.providers.body import (
    MAX_DEPTH,
    PIECE,
    Allowance,
    TooDeep,
    TooLarge,
    Unreadable,
    parse,
    read,
    text_of,
)


class Given:
    """A response of these chunks."""

    def __init__(self, chunks: list[bytes], **headers: str) -> None:
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self._chunks = chunks
        self.taken = 0

    async def aiter_raw(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            self.taken += 1
            yield chunk


def cut(content: bytes, size: int = 1000) -> list[bytes]:
    return [content[at : at + size] for at in range(0, len(content), size)]


def bare_deflate(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


PACK: dict[str, Any] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "x-gzip": gzip.compress,
    "gzip, gzip": lambda content: gzip.compress(gzip.compress(content)),
    "deflate, gzip": lambda content: gzip.compress(zlib.compress(content)),
    "identity": lambda content: content,
    "": lambda content: content,
}


@given(st.binary(max_size=3 * PIECE), st.sampled_from(sorted(PACK)), st.integers(1, 5000))
async def test_what_was_sent_is_read(content: bytes, encoding: str, size: int) -> None:
    """By whatever encoding, in whatever pieces."""
    response = Given(cut(PACK[encoding](content), size), content_encoding=encoding)

    assert await read(response, Allowance(1 << 20)) == content


async def test_the_bare_deflate_that_some_servers_send_is_read() -> None:
    """Also when its first byte comes alone."""
    packed = bare_deflate(b"hello" * 100)

    assert await read(Given(cut(packed, 1), content_encoding="deflate"), Allowance(1000)) == b"hello" * 100


@pytest.mark.parametrize("times", [1, 2])
async def test_a_bomb_is_refused_before_it_goes_off(times: int) -> None:
    """A response of 256 MB, compressed once or twice, takes no more memory than its limit."""
    packer = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(256)) + packer.flush()
    if times == 2:
        packed = gzip.compress(packed)
    response = Given(cut(packed, 65_536), content_encoding=", ".join(["gzip"] * times))
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge, match=r"above|times its size"):
            await read(response, Allowance(4 << 20))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 12 << 20


@pytest.mark.parametrize(
    ("chunks", "headers", "why"),
    [
        ([b"x"], {"content_encoding": "br"}, "'br', which was not asked for"),
        ([b"x"], {"content_encoding": "zstd, gzip"}, "was not asked for"),
        ([b"x"], {"content_encoding": "gzip, gzip, gzip"}, "compressed 3 times"),
        ([b"no gzip"], {"content_encoding": "gzip"}, "cannot be decompressed"),
        ([gzip.compress(b"x" * 1000)[:-9]], {"content_encoding": "gzip"}, "in the middle"),
        ([b"x" * 1000] * 2, {}, "above 1500 bytes"),
        ([], {"content_length": "9999999999"}, "above 1500 bytes"),
    ],
)
async def test_what_cannot_be_read_is_told(chunks: list[bytes], headers: dict[str, str], why: str) -> None:
    """Unknown encodings, broken ones, too many, too large."""
    with pytest.raises(Unreadable, match=why):
        await read(Given(chunks, **headers), Allowance(1500))


async def test_an_allowance_is_for_all_responses_together() -> None:
    """And no more is read than it takes to see that it is used up."""
    allowance = Allowance(2500)
    await read(Given([b"x" * 1000]), allowance)
    endless = Given([b"x" * 1000] * 1000)
    with pytest.raises(TooLarge):
        await read(endless, allowance)

    assert endless.taken == 2


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le"]))
def test_json_is_read_in_every_unicode_charset(value: Any, charset: str) -> None:
    """By its mark, or as declared."""
    raw = json.dumps(value, ensure_ascii=False).encode(charset, errors="surrogatepass")
    text = text_of(raw, f"application/json; charset={charset.removesuffix('-sig')}")

    assert text is not None
    assert parse(text) == value


@given(st.binary(), st.text())
def test_no_bytes_and_no_header_break_the_reading(raw: bytes, kind: str) -> None:
    """Text or none; JSON or none."""
    text = text_of(raw, kind)
    assert isinstance(text_of(raw, kind, lenient=True), str)
    if text is not None:
        parse(text)


@pytest.mark.parametrize(("open_", "close"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1, 900, 100_000])
def test_nesting_is_bounded(open_: str, close: str, depth: int) -> None:
    """Far below where it would break those who read on."""
    text = open_ * (depth - 1) + "[]" + close * (depth - 1)
    if depth <= MAX_DEPTH:
        assert parse(text) is not ABSENT
    else:
        with pytest.raises(TooDeep):
            parse(text)

"""Videos are real files that a decoder reads."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import av
import pytest
from av.container import InputContainer
from PIL import Image

from backplane.builtin.video import video_generation
from backplane.recovery.outcome import ProviderError
from tests.support.catalogue import Bench

SMALL = {"prompt": "Flow", "seconds": 1, "width": 320, "height": 180, "fps": 6}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def decoded(bench: Bench, result: dict[str, Any]) -> list[Image.Image]:
    """All pictures of the video, read back by a decoder."""
    with av.open(io.BytesIO(bench.artifacts.get(result["artifact"]["uri"]))) as container:
        assert isinstance(container, InputContainer)
        stream = container.streams.video[0]
        assert (container.format.name.split(",")[0], stream.codec_context.name) == ("mov", "h264")
        return [frame.to_image() for frame in container.decode(stream)]  # type: ignore[no-untyped-call]  # av's


def dominant(picture: Image.Image) -> tuple[int, int, int]:
    red, green, blue = picture.resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]  # an RGB picture
    return red, green, blue


def test_a_prompt_becomes_a_film_of_the_length_and_size_asked_for(bench: Bench) -> None:
    """Equal requests give equal bytes, another seed gives others; the pictures move."""
    first = bench.call("video_generation", video_generation, SMALL)
    again = bench.call("video_generation", video_generation, SMALL)
    other = bench.call("video_generation", video_generation, {**SMALL, "seed": 2})

    pictures = decoded(bench, first)
    assert (len(pictures), pictures[0].size) == (6, (320, 180))
    assert (first["seconds"], first["artifact"]["mime"]) == (1, "video/mp4")
    assert pictures[0].tobytes() != pictures[3].tobytes()
    assert again == first
    assert other["artifact"]["sha256"] != first["artifact"]["sha256"]


def test_images_are_shown_one_after_the_other(bench: Bench) -> None:
    """Each for its share, whatever its shape; between them both are seen."""
    red, blue = (
        {"uri": bench.artifacts.put(png((100, side), color), "image/png").uri}
        for side, color in ((300, (255, 0, 0)), (50, (0, 0, 255)))
    )

    result = bench.call("video_generation", video_generation, {**SMALL, "seconds": 2, "frames": [red, blue]})

    colors = [dominant(picture) for picture in decoded(bench, result)]
    assert len(colors) == 12
    assert colors[0][0] > 200 > 50 > colors[0][2]
    assert colors[-1][2] > 200 > 50 > colors[-1][0]
    assert min(colors[5][0], colors[5][2]) > 40


def test_a_frame_that_is_no_image_is_an_invalid_request(bench: Bench) -> None:
    """It would be none the next time either."""
    text = bench.artifacts.put(b"no image at all", "image/png")

    with pytest.raises(ProviderError, match="no image") as caught:
        bench.call("video_generation", video_generation, {**SMALL, "frames": [{"uri": text.uri}]})
    assert caught.value.error_class == "invalid_request"


def png(size: tuple[int, int], color: tuple[int, int, int]) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, color).save(out, "PNG")
    return out.getvalue()

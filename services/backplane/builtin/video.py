"""``video_generation`` without a model: an MP4 (H.264) whose streams of light flow and meet again at its end, with the
prompt as its title. Or a slow pan over given images, one fading into the next.

Deterministic: the same params give the same bytes, on the same version of the encoder. Frames are drawn one at a time
and handed to the encoder, so a long video takes no more memory than a short one.
"""

from __future__ import annotations

import io
import math
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import av
from PIL import Image, ImageDraw, ImageOps, UnidentifiedImageError

from agents_sdk.core import ids
from backplane.builtin import image
from backplane.providers.python import ProviderContext
from backplane.recovery.outcome import Answer, Blob, ProviderError

MODEL: Final = "procedural-film-1"
SMOOTHING: Final = 2
"""Lines are drawn this much larger and shrunk: Pillow does not smooth edges itself."""
LINES: Final = 22
POINTS_A_LINE: Final = 2
FADE_SECONDS: Final = 0.6
ZOOM: Final = 0.08
"""Share by which an image grows while it is shown."""
CODEC: Final = "libx264"
X264: Final = "threads=1:rc-lookahead=0:mbtree=0:scenecut=0:weightp=0:b-adapt=0"
"""One thread: x264 cuts frames by threads, and the bytes must not depend on the machine; and its work is metered so.
No look ahead: what it looks at there depends on memory nobody wrote (of 14 equal films 7 differed, measured)."""
ENCODER: Final = {"preset": "veryfast", "crf": "21", "x264-params": X264, "flags": "+bitexact"}
MUXER: Final = {"movflags": "+faststart", "fflags": "+bitexact"}
"""The index first, so that a browser can begin to play what it has; no version of the muxer within."""


def video_generation(params: Mapping[str, Any], context: ProviderContext) -> Answer:
    """The video. Raises ProviderError(invalid_request) for a frame that is no image."""
    size = (int(params.get("width", 1280)), int(params.get("height", 720)))
    fps = int(params.get("fps", 24))
    count = max(1, round(float(params.get("seconds", 5)) * fps))
    given = [_opened(frame["uri"], size, context) for frame in params.get("frames") or ()]
    if given:
        pictures = slides(given, size, count, fps)
    else:
        prompt = str(params["prompt"])
        pictures = film(prompt, size, count, random.Random(f"{prompt}\0{params.get('seed')}"))  # noqa: S311  # a picture
    result = {
        "artifact": Blob(encoded(pictures, size, fps), "video/mp4"),
        "width": size[0],
        "height": size[1],
        "seconds": round(count / fps, 3),
        "fps": fps,
    }
    return Answer(result=result, model=MODEL, prompt_version=ids.sha256(MODEL)[:12])


def encoded(pictures: Iterator[Image.Image], size: tuple[int, int], fps: int) -> bytes:
    """The pictures as an MP4."""
    # a file, since the index is moved to its front by opening it once more
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        _encode(path, pictures, size, fps)
        return path.read_bytes()


def _encode(path: Path, pictures: Iterator[Image.Image], size: tuple[int, int], fps: int) -> None:
    with av.open(str(path), "w", format="mp4", options=MUXER) as container:
        stream = container.add_stream(CODEC, rate=fps, options=ENCODER)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            frame = av.VideoFrame.from_image(picture)  # type: ignore[no-untyped-call]  # PyAV leaves it without types
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def film(title: str, size: tuple[int, int], count: int, chance: random.Random) -> Iterator[Image.Image]:
    """``count`` pictures whose last leads to the first; all that varies comes from ``chance``."""
    colors = chance.choice(image.PALETTES)
    ground, cover = image.layers(title, "", size, colors, chance)
    phase, waves = chance.uniform(0, math.tau), chance.uniform(0.9, 1.5)
    starts = [[chance.random() for _ in range(POINTS_A_LINE)] for _ in range(LINES)]
    for number in range(count):
        turn = number / count
        streams, points = _streams(size, phase, waves, turn, starts)
        picture = Image.composite(Image.new("RGB", size, colors[2]), ground, streams)
        picture.paste(colors[3], mask=points)
        picture.paste(cover, mask=cover)
        yield picture


def _streams(
    size: tuple[int, int], phase: float, waves: float, turn: float, starts: Sequence[Sequence[float]]
) -> tuple[Image.Image, Image.Image]:
    """Masks of the lines and of the points that travel along them, a full turn from 0 to 1."""
    width, height = (side * SMOOTHING for side in size)
    lines, points = Image.new("L", (width, height)), Image.new("L", (width, height))
    line, point = ImageDraw.Draw(lines), ImageDraw.Draw(points)
    now = phase + turn * math.tau
    for number, travellers in enumerate(starts):
        share = number / (LINES - 1)
        alpha = round(26 + 120 * math.sin(math.pi * share) ** 2)
        track = [(float(x), image.stream(x / width, share, now, waves) * height) for x in range(-40, width + 41, 40)]
        line.line(track, fill=alpha, width=max(1, round(height / 560)), joint="curve")
        for start in travellers:
            place = (start + turn) % 1.0
            x, y = place * width, image.stream(place, share, now, waves) * height
            radius = height * (0.0025 + 0.003 * share)
            # fades in and out at the edges, where it jumps back
            glow = round(min(255, alpha + 110) * math.sin(math.pi * place))
            point.ellipse([x - radius, y - radius, x + radius, y + radius], fill=glow)
    return lines.reduce(SMOOTHING), points.reduce(SMOOTHING)


def slides(pictures: Sequence[Image.Image], size: tuple[int, int], count: int, fps: int) -> Iterator[Image.Image]:
    """Each picture for its share of the time, growing slowly, the last moments of it fading into the next one."""
    each = count / len(pictures)
    fade = min(FADE_SECONDS * fps, each / 2)
    for number in range(count):
        index = min(int(number / each), len(pictures) - 1)
        since = number - index * each
        picture = _grown(pictures[index], size, since / each)
        left = each - since
        if index + 1 < len(pictures) and left < fade:
            # the next one stands still until its own time begins
            picture = Image.blend(picture, _grown(pictures[index + 1], size, 0.0), 1 - left / fade)
        yield picture


def _grown(picture: Image.Image, size: tuple[int, int], share: float) -> Image.Image:
    inset = ZOOM * share / 2
    width, height = picture.size
    box = (width * inset, height * inset, width * (1 - inset), height * (1 - inset))
    return picture.resize(size, Image.Resampling.BICUBIC, box=box)


def _opened(uri: str, size: tuple[int, int], context: ProviderContext) -> Image.Image:
    """The image cut to the video's shape, a little larger so that it stays sharp while it grows."""
    larger = (round(size[0] * (1 + ZOOM)), round(size[1] * (1 + ZOOM)))
    try:
        with Image.open(io.BytesIO(context.artifacts.get(uri))) as picture:
            return ImageOps.fit(picture.convert("RGB"), larger, Image.Resampling.LANCZOS)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError) as error:
        raise ProviderError("invalid_request", f"frame {uri} is no image: {error}", code="no_picture") from error

"""``image_generation`` without a model: a procedural hero image, the same for the same prompt and seed.

Layers, from the back: a diagonal gradient, blurred discs of light, a band of flowing lines with points on them. Then a
veil that keeps the type readable, the title in lines that fit, the subtitle, a rule.
"""

from __future__ import annotations

import io
import math
import random
import unicodedata
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, TypeAlias

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from agents_sdk.core import ids
from backplane.providers.python import ProviderContext
from backplane.recovery.outcome import Answer, Blob

Color: TypeAlias = tuple[int, int, int]
Palette: TypeAlias = tuple[Color, Color, Color, Color]
Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

MODEL: Final = "procedural-flow-1"
DRAWN_HEIGHT: Final = 1_800
"""Lines and points are drawn at least this high and shrunk: Pillow does not smooth edges itself."""
PALETTES: Final[tuple[Palette, ...]] = (
    ((10, 18, 48), (24, 62, 122), (86, 156, 255), (94, 234, 212)),
    ((28, 12, 54), (92, 36, 128), (222, 110, 220), (255, 196, 92)),
    ((6, 34, 44), (12, 92, 104), (84, 214, 196), (255, 176, 102)),
    ((46, 10, 34), (138, 30, 74), (255, 122, 134), (255, 214, 120)),
    ((18, 20, 30), (52, 62, 98), (148, 168, 238), (255, 132, 108)),
    ((8, 30, 26), (20, 88, 66), (126, 222, 148), (250, 232, 120)),
)
"""Deep, middle, bright, accent; chosen by eye, since hues taken at random mix to mud."""
FALLBACK_FACE: Final = "DejaVuSans-Bold.ttf"
"""Has the letters that the bundled face lacks, where it is installed; elsewhere accents are dropped."""
TITLE_LINES: Final = 3


def image_generation(params: Mapping[str, Any], context: ProviderContext) -> Answer:
    """The image as a PNG."""
    size = (int(params.get("width", 1600)), int(params.get("height", 900)))
    prompt = str(params["prompt"])
    seed = params.get("seed")
    chance = random.Random(f"{prompt}\0{seed}")  # noqa: S311  # a picture, not a secret
    picture = draw(prompt, str(params.get("subtitle") or ""), size, chance)
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=False, compress_level=6)
    result = {
        "artifact": Blob(out.getvalue(), "image/png"),
        "width": size[0],
        "height": size[1],
        "alt": f"Abstract illustration: {prompt}",
    }
    return Answer(result=result, model=MODEL, prompt_version=ids.sha256(MODEL)[:12])


def draw(title: str, subtitle: str, size: tuple[int, int], chance: random.Random) -> Image.Image:
    """The picture; all that varies comes from ``chance``."""
    colors = chance.choice(PALETTES)
    ground, cover = layers(title, subtitle, size, colors, chance)
    picture = _flow(ground, colors[2], colors[3], chance)
    picture.paste(cover, mask=cover)
    return picture


def layers(
    title: str, subtitle: str, size: tuple[int, int], colors: Palette, chance: random.Random
) -> tuple[Image.Image, Image.Image]:
    """The opaque layers below the flow, and the mostly transparent ones above it."""
    deep, middle, bright, accent = colors
    ground = _glow(_gradient(size, deep, middle), (bright, middle, bright), chance)
    cover = _veil(size, deep)
    _type(cover, title, subtitle, accent)
    return ground, cover


def _gradient(size: tuple[int, int], start: Color, end: Color) -> Image.Image:
    """From the lower left to the upper right."""
    ramp = Image.linear_gradient("L")
    rising = ImageChops.add(ramp.rotate(90), ImageChops.invert(ramp), scale=2.0)
    mask = rising.resize(size, Image.Resampling.BICUBIC)
    return Image.composite(Image.new("RGB", size, end), Image.new("RGB", size, start), mask)


def _glow(picture: Image.Image, colors: tuple[Color, ...], chance: random.Random) -> Image.Image:
    """Soft light, brighter to the upper right, away from the type."""
    width, height = picture.size
    for color in colors:
        radius = height * chance.uniform(0.22, 0.42)
        x, y = width * chance.uniform(0.55, 1.0), height * chance.uniform(-0.05, 0.55)
        mask = Image.new("L", (width // 4, height // 4))
        box = [(x - radius) / 4, (y - radius) / 4, (x + radius) / 4, (y + radius) / 4]
        ImageDraw.Draw(mask).ellipse(box, fill=105)
        soft = mask.filter(ImageFilter.GaussianBlur(height / 4 / 9)).resize(picture.size, Image.Resampling.BICUBIC)
        picture = Image.composite(Image.new("RGB", picture.size, color), picture, soft)
    return picture


def _flow(picture: Image.Image, line: Color, point: Color, chance: random.Random) -> Image.Image:
    """Streams that run from left to right and gather, with points travelling on them."""
    enlarged = max(2, -(-DRAWN_HEIGHT // picture.height))
    width, height = (side * enlarged for side in picture.size)
    layer = Image.new("RGBA", (width, height), (*line, 0))
    pen = ImageDraw.Draw(layer)
    phase, waves = chance.uniform(0, math.tau), chance.uniform(0.9, 1.5)
    count = 26
    for number in range(count):
        share = number / (count - 1)
        track = [(float(x), stream(x / width, share, phase, waves) * height) for x in range(-40, width + 41, 24)]
        alpha = round(26 + 120 * math.sin(math.pi * share) ** 2)
        pen.line(track, fill=(*line, alpha), width=round(height / 560), joint="curve")
        for _ in range(chance.randint(0, 3)):
            x, y = track[chance.randint(len(track) // 3, len(track) - 4)]
            radius = height * chance.uniform(0.0022, 0.0060)
            pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=(*point, min(255, alpha + 110)))
    small = layer.resize(picture.size, Image.Resampling.LANCZOS)
    return Image.alpha_composite(picture.convert("RGBA"), small).convert("RGB")


def stream(x: float, share: float, phase: float, waves: float) -> float:
    """Height, 0 at the top, of one line of the flow at x: wide apart at the left, gathered to the right."""
    middle = 0.40 + 0.10 * math.sin(phase + x * math.tau * waves * 0.6)
    spread = 0.62 - 0.40 * math.pow(max(x, 0.0), 1.4)
    ripple = 0.035 * math.sin(phase + x * math.tau * waves + share * 5.0)
    return middle + (share - 0.5) * spread + ripple


def _veil(size: tuple[int, int], color: Color) -> Image.Image:
    """Darkens the lower part, where the type stands."""
    ramp = Image.linear_gradient("L").resize(size, Image.Resampling.BICUBIC)
    veil = Image.new("RGBA", size, color)
    veil.putalpha(ramp.point(lambda level: round(max(0.0, (level - 70) / 185) ** 0.9 * 225)))
    return veil


def _type(picture: Image.Image, title: str, subtitle: str, accent: Color) -> None:
    """The title at the lower left, as large as fits in three lines; the subtitle below it."""
    width, height = picture.size
    pen = ImageDraw.Draw(picture)
    margin, room = width * 0.06, width * 0.80
    title, bold = readable(" ".join(title.split()))
    subtitle, _ = readable(" ".join(subtitle.split()))
    lines, font, size = _fit(pen, title, room, height)
    small = face(subtitle, max(10, height * 0.034))
    bottom = height * 0.925
    if subtitle:
        text = _shorten(pen, subtitle, small, room)
        bottom -= height * 0.034
        pen.text((margin, bottom), text, font=small, fill=(228, 232, 240))
        bottom -= height * 0.028
    leading = size * 1.16
    top = bottom - leading * len(lines)
    thickness = 0 if bold else max(1, round(size / 42))
    for number, line in enumerate(lines):
        # the bundled face has one weight; a stroke in its own colour makes a bold of it
        place = (margin, top + number * leading)
        pen.text(place, line, font=font, fill=(255, 255, 255), stroke_width=thickness, stroke_fill=(255, 255, 255))
    rule = top - height * 0.035
    pen.rectangle([margin, rule, margin + width * 0.055, rule + max(2, height * 0.008)], fill=accent)


def readable(text: str) -> tuple[str, bool]:
    """The text in letters that a face here has, and whether that face is bold already."""
    if text.isascii():
        return text, False
    try:
        ImageFont.truetype(FALLBACK_FACE, 10)
    except OSError:
        plain = unicodedata.normalize("NFKD", text.replace("ß", "ss"))
        return plain.encode("ascii", "ignore").decode(), False
    return text, True


def face(text: str, size: float) -> Font:
    """The bundled face, or the one that has the text's letters."""
    return ImageFont.load_default(size) if text.isascii() else ImageFont.truetype(FALLBACK_FACE, size * 0.86)


def _fit(pen: ImageDraw.ImageDraw, title: str, room: float, height: int) -> tuple[list[str], Font, float]:
    size = height * 0.125
    while True:
        font = face(title, size)
        lines = wrap(title, partial(pen.textlength, font=font), room)
        if len(lines) <= TITLE_LINES or size <= height * 0.055:
            lines = [_shorten(pen, line, font, room) for line in lines]
            if len(lines) > TITLE_LINES:
                lines = [*lines[: TITLE_LINES - 1], _shorten(pen, lines[TITLE_LINES - 1] + " …", font, room)]
            return lines, font, size
        size *= 0.9


def wrap(text: str, measure: Any, room: float) -> list[str]:
    """The words in lines no wider than ``room``, none much shorter than the others. It is the narrowest block that
    needs no more lines than the widest does. A word wider than the room has its own line."""

    def fill(limit: float) -> list[str]:
        lines: list[str] = []
        for word in text.split():
            if lines and measure(f"{lines[-1]} {word}") <= limit:
                lines[-1] += f" {word}"
            else:
                lines.append(word)
        return lines

    best = fill(room)
    for share in (0.9, 0.8, 0.7, 0.6, 0.5):
        tried = fill(room * share)
        if len(tried) > len(best) or any(measure(line) > room for line in tried):
            break
        best = tried
    return best


def _shorten(pen: ImageDraw.ImageDraw, text: str, font: Font, room: float) -> str:
    """The text, cut with an ellipsis where it would leave the room."""
    if pen.textlength(text, font=font) <= room:
        return text
    while text and pen.textlength(text + "…", font=font) > room:
        text = text[:-1]
    return text.rstrip() + "…"

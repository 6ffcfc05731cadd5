"""A photo with its boxes drawn in, for services that show plain pictures."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from cloud_sink.incidents import Picture

_TONES = ("#ffb547", "#7cc7ff", "#9fe3b2", "#d9c2ff")
_INK = "#14110a"


def drawn(path: Path, picture: Picture) -> bytes:
    """The JPEG at `path` with the picture's boxes and names."""
    with Image.open(path) as stored:
        image = stored.convert("RGB")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=max(10.0, picture.unit))
    line = max(2, round(picture.unit / 7))
    for box in reversed(picture.boxes):
        tone = _TONES[box.tone % len(_TONES)]
        draw.rectangle((box.x, box.y, box.x + box.width, box.y + box.height), outline=tone, width=line)
        at = (box.tag_x + picture.unit * 0.4, box.tag_y + picture.unit * 0.1)
        left, top, right, bottom = draw.textbbox(at, box.text, font=font)
        draw.rectangle((box.tag_x, top - line, right + picture.unit * 0.4, bottom + line), fill=tone)
        draw.text((left, at[1]), box.text, font=font, fill=_INK)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=88)
    return out.getvalue()

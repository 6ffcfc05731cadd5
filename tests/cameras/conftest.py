"""A book, and pictures to put before cameras."""

from __future__ import annotations

from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from agent.cameras import CameraBook

COLOURS = {"a": (200, 40, 40), "b": (40, 200, 40), "c": (40, 40, 200)}


def picture(
    colour: tuple[int, int, int] = (200, 40, 40), size: tuple[int, int] = (320, 240), kind: str = "JPEG"
) -> bytes:
    """A picture of one colour."""
    out = BytesIO()
    Image.new("RGB", size, colour).save(out, kind, quality=92)
    return out.getvalue()


@pytest.fixture
async def book(tmp_path: Path) -> AsyncIterator[CameraBook]:
    made = CameraBook(tmp_path / "state" / "cameras.yaml")
    yield made
    await made.close()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of three pictures, by name red, green, blue."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, colour in COLOURS.items():
        (folder / f"{name}.jpg").write_bytes(picture(colour))
    (folder / "notes.txt").write_text("no picture")
    return folder

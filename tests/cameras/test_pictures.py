"""Pictures, folders and videos as cameras, and the effects of rotate, masks and crop."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agent.cameras import CameraBook, Photo
from agent.errors import CameraError
from tests.cameras.conftest import COLOURS, picture
from tests.cameras.servers import make_video


def pixels(photo: Photo) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(photo.jpeg)).convert("RGB")).astype(int)


def colour_name(photo: Photo) -> str:
    mean = pixels(photo).mean(axis=(0, 1))
    return min(COLOURS, key=lambda name: np.abs(mean - COLOURS[name]).sum())


async def test_a_picture_is_passed_on_byte_by_byte(pictures: Path, book: CameraBook) -> None:
    await book.add("cam", f"file:{pictures}/a.jpg")
    photos = await book.shoot("cam", 2)
    assert {p.jpeg for p in photos} == {(pictures / "a.jpg").read_bytes()}


async def test_a_folder_shows_its_pictures_by_name_one_for_each_shot(pictures: Path, book: CameraBook) -> None:
    await book.add("cam", f"file:{pictures}")
    first, second = await book.shoot("cam", 2), await book.shoot("cam", 2)
    assert [colour_name(p) for p in first + second] == ["a", "b", "c", "a"]
    (pictures / "aa.jpg").write_bytes(picture(COLOURS["c"]))
    assert [colour_name(p) for p in await book.shoot("cam")] == ["c"]


async def test_a_video_gives_its_frames(tmp_path: Path, book: CameraBook) -> None:
    make_video(tmp_path / "film.mp4")
    await book.add("cam", f"file:{tmp_path}/film.mp4", crop=[0.5, 0, 0.5, 1])
    photos = await book.shoot("cam", 3, 0.2)
    assert [(p.width, p.height) for p in photos] == [(160, 240)] * 3
    assert len({p.jpeg for p in photos}) > 1


async def test_a_file_that_changes_or_goes_is_seen(pictures: Path, book: CameraBook) -> None:
    await book.add("cam", f"file:{pictures}/a.jpg")
    (pictures / "a.jpg").write_bytes(picture(COLOURS["b"]))
    assert colour_name((await book.shoot("cam"))[0]) == "b"
    (pictures / "a.jpg").unlink()
    with pytest.raises(CameraError, match="does not exist"):
        await book.shoot("cam")


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "sends nothing"), (b"hello", "not a JPEG"), (picture()[:500], "cut off"), (b"BMbroken", "decoded")],
)
async def test_a_file_that_is_no_picture_is_an_error(
    content: bytes, says: str, pictures: Path, book: CameraBook
) -> None:
    (pictures / "a.jpg").write_bytes(content)
    await book.add("cam", f"file:{pictures}/a.jpg")
    with pytest.raises(CameraError, match=says):
        await book.shoot("cam")


async def test_a_path_that_cannot_be_read_is_named(book: CameraBook) -> None:
    await book.add("cam", f"file:/{'x' * 300}")
    with pytest.raises(CameraError, match="cannot be read: File name too long") as caught:
        await book.shoot("cam")
    assert caught.value.code == "camera.permission"


async def test_an_empty_folder_and_a_text_as_a_video_are_errors(tmp_path: Path, book: CameraBook) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "film.mp4").write_text("no film")
    await book.add("folder", f"file:{tmp_path}/empty")
    await book.add("film", f"file:{tmp_path}/film.mp4")
    with pytest.raises(CameraError, match="holds no pictures"):
        await book.shoot("folder")
    with pytest.raises(CameraError, match="cannot be opened"):
        await book.shoot("film")


def quarters() -> bytes:
    """Red and green above, blue and white below."""
    image = Image.new("RGB", (320, 240))
    for i, colour in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]):
        image.paste(colour, (i % 2 * 160, i // 2 * 120, i % 2 * 160 + 160, i // 2 * 120 + 120))
    out = BytesIO()
    image.save(out, "JPEG", quality=95, subsampling=0)
    return out.getvalue()


def letters(photo: Photo) -> str:
    """The photo's quarters as letters: r, g, b, w and k (black), row by row."""
    p = pixels(photo)
    h, w = p.shape[:2]
    names = {"r": (255, 0, 0), "g": (0, 255, 0), "b": (0, 0, 255), "w": (255, 255, 255), "k": (0, 0, 0)}
    found = ""
    for y, x in [(h // 4, w // 4), (h // 4, 3 * w // 4), (3 * h // 4, w // 4), (3 * h // 4, 3 * w // 4)]:
        found += min(names, key=lambda n: int(np.abs(p[y, x] - names[n]).sum()))
    return found


@pytest.mark.parametrize(
    ("options", "quarter", "size"),
    [
        ({}, "rgbw", (320, 240)),
        ({"rotate": 90}, "brwg", (240, 320)),
        ({"rotate": 180}, "wbgr", (320, 240)),
        ({"rotate": 270}, "gwrb", (240, 320)),
        ({"masks": [[0, 0, 0.5, 0.5]]}, "kgbw", (320, 240)),
        ({"masks": [[0, 0, 1, 0.5], [0.5, 0.5, 0.5, 0.5]]}, "kkbk", (320, 240)),
        ({"hidden": [[[0, 0], [0.6, 0], [0, 0.6]], [[0.5, 0.5], [1, 0.5], [1, 1], [0.5, 1]]]}, "kgbk", (320, 240)),
        ({"crop": [0.25, 0.25, 0.5, 0.5]}, "rgbw", (160, 120)),
        ({"crop": [0.5, 0, 0.5, 1]}, "ggww", (160, 240)),
        ({"rotate": 90, "masks": [[0, 0, 0.5, 0.5]], "crop": [0, 0, 1, 0.5]}, "krkr", (240, 160)),
    ],
)
async def test_pictures_are_turned_then_masked_then_cut(
    options: dict[str, object], quarter: str, size: tuple[int, int], tmp_path: Path, book: CameraBook
) -> None:
    (tmp_path / "q.jpg").write_bytes(quarters())
    await book.add("cam", f"file:{tmp_path}/q.jpg", **options)
    [photo] = await book.shoot("cam")
    assert (photo.width, photo.height) == size
    assert letters(photo) == quarter


async def test_a_mask_covers_every_pixel_that_it_touches(tmp_path: Path, book: CameraBook) -> None:
    (tmp_path / "q.jpg").write_bytes(picture((255, 255, 255)))
    await book.add("cam", f"file:{tmp_path}/q.jpg", masks=[[0.1001, 0.1001, 0.3, 0.3]])
    assert pixels((await book.shoot("cam"))[0])[24:97, 32:129].max() < 90

"""The photo store alone: how it encodes a building's pictures, and which files it keeps."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path

import pytest
from PIL import Image

from agent.errors import Refused
from cloud_sink.settings import Limits
from cloud_sink.store import PhotoStore
from tests.sink.running import jpeg

ASCII, SHORT, FLOAT = 2, 3, 11


def exif(*tags: tuple[int, int, int, bytes]) -> bytes:
    """EXIF with these tags (number, type, count, up to four bytes of value), well formed or not."""
    entries = b"".join(struct.pack(">HHI4s", *tag) for tag in tags)
    return b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", len(tags)) + entries + b"\0\0\0\0"


TURNED = (0x112, SHORT, 1, b"\0\x06")


@pytest.fixture
def photos(tmp_path: Path) -> PhotoStore:
    return PhotoStore(tmp_path / "photos", Limits())


@pytest.mark.parametrize(
    "odd",
    [(0x100, ASCII, 4, b"640\0"), (0x131, FLOAT, 1, struct.pack(">f", 1.5)), (0x11A, ASCII, 4, b"72\0\0")],
    ids=["width", "software", "resolution"],
)
def test_a_photo_with_odd_exif_is_kept_and_turned(photos: PhotoStore, odd: tuple[int, int, int, bytes]) -> None:
    tags = sorted((odd, TURNED))
    stored = photos.put("p", "cid", jpeg(640, 360, exif=exif(*tags)))
    assert (stored.width, stored.height) == (360, 640)


@pytest.mark.parametrize("orientation", range(9))
def test_a_photo_is_turned_as_its_exif_says(photos: PhotoStore, orientation: int) -> None:
    corner = Image.new("RGB", (32, 16))
    corner.paste((255, 255, 255), (0, 0, 8, 8))
    tags, out = Image.Exif(), io.BytesIO()
    tags[0x112] = orientation
    corner.save(out, "JPEG", exif=tags.tobytes())
    stored = photos.put("p", "cid", out.getvalue())
    with Image.open(photos.path(stored.digest)) as seen:
        right, bottom = seen.width - 4, seen.height - 4
        corners = [(3, 3), (right, 3), (right, bottom), (3, bottom)]
        lit = [i for i, at in enumerate(corners) if seen.convert("L").getpixel(at) > 128]  # type: ignore[operator]
        assert (lit, seen.size) == ([(0, 0, 1, 2, 3, 0, 1, 2, 3)[orientation]], ((32, 16), (16, 32))[orientation > 4])


def test_a_picture_too_wide_for_a_jpeg_is_refused(photos: PhotoStore) -> None:
    out = io.BytesIO()
    Image.new("L", (65_501, 1)).save(out, "PNG")
    with pytest.raises(Refused):
        photos.put("p", "cid", out.getvalue())


def test_a_jpeg_of_very_many_scans_is_refused(photos: PhotoStore) -> None:
    out = io.BytesIO()
    Image.new("RGB", (64, 64)).save(out, "JPEG", progressive=True)
    whole = out.getvalue()
    last = whole[whole.rindex(b"\xff\xda") : -2]
    photos.put("p", "cid", whole[:-2] + last * 20 + b"\xff\xd9")
    with pytest.raises(Refused, match="scans"):
        photos.put("p", "cid", whole[:-2] + last * 100 + b"\xff\xd9")


def test_only_old_files_without_an_alert_are_swept(photos: PhotoStore) -> None:
    """The sweep keeps files stored while it runs: new files, and old files that are used again."""
    contents = [jpeg(64, height) for height in (16, 32, 48, 64)]
    wanted, again, orphan, young = (photos.path(photos.put("p", "cid", c).digest) for c in contents)
    for path in (wanted, again, orphan):
        os.utime(path, (0, 0))

    def digests() -> set[str]:
        photos.put("p", "cid", contents[1])
        return {wanted.stem}

    assert photos.sweep(digests) == 1
    assert [p.exists() for p in (wanted, again, orphan, young)] == [True, True, False, True]


def test_sweep_continues_after_a_file_it_cannot_delete(photos: PhotoStore, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [photos.path(photos.put("p", "cid", jpeg(64, height)).digest) for height in (16, 32)]
    for path in paths:
        os.utime(path, (0, 0))
        (path.parent / "@eaDir").mkdir()
        os.utime(path.parent / "@eaDir", (0, 0))
    unlink = Path.unlink

    def unlinks(path: Path, missing_ok: bool = False) -> None:
        if path == paths[0]:
            raise PermissionError(1, "not permitted")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlinks)
    assert photos.sweep(set) == 1
    assert [p.exists() for p in paths] == [True, False]

"""Photos on disk, made anew: what a building sends is decoded and encoded again before anybody looks at it.

So no EXIF (place, serial numbers), no comment, no trailing data and no crafted file gets further than this module. A file is
named by the SHA-256 of its new bytes, in 256 folders.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from agent.errors import EdgeError, Refused
from agent.files import write_private
from cloud_sink.files import private_folder
from cloud_sink.settings import Limits
from cloud_sink.store.alerts import StoredPhoto

logger = logging.getLogger(__name__)

QUALITY = 88
"""JPEG quality of the stored photo."""
YOUNG = 3600.0
"""Seconds in which a file is not deleted: its alert may not be in the database yet."""
SCANS = 100
"""Most scans of a JPEG; a usual one has up to ten, and each takes a pass over all pixels."""
_ORIENTATION = 0x112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
# Decoding takes memory in the order of the pixels: two at a time, whoever sends how much.
_DECODERS = threading.BoundedSemaphore(2)


class PhotoStore:
    """The folder of photos. Calls block, so they run in threads."""

    def __init__(self, root: Path, limits: Limits) -> None:
        self._root = private_folder(root)
        self._limits = limits
        self._deleting = threading.Lock()

    def put(self, name: str, cid: str, content: bytes) -> StoredPhoto:
        """Re-encode and keep a photo, durably; raises Refused (`sink.photo`) when it is none or too large."""
        with _DECODERS:
            jpeg, width, height = self._reencode(name, content)
        digest = hashlib.sha256(jpeg).hexdigest()
        path = self.path(digest)
        if not self._reused(path):
            private_folder(path.parent)
            write_private(path, jpeg)
        return StoredPhoto(_printable(name), cid, digest, width, height, len(jpeg))

    def path(self, digest: str) -> Path:
        """Where a photo lies."""
        if not _DIGEST.match(digest):
            raise ValueError("not a digest")
        return self._root / digest[:2] / f"{digest}.jpg"

    def remove(self, digest: str) -> None:
        """Delete a photo that no alert needs, unless one is on its way to the database that does."""
        self._delete(self.path(digest))

    def sweep(self, wanted: Callable[[], set[str]]) -> int:
        """Delete files that belong to no alert (left by a crash between file and commit); returns how many.

        `wanted` is asked after the files were listed: what comes while this runs is not touched.
        """
        found = [path for path in self._root.glob("??/*") if path.is_file()]
        digests = wanted()
        return sum(self._delete(path) for path in found if path.stem not in digests)

    def _reused(self, path: Path) -> bool:
        """Whether the file is there already; if so it is as good as new, and safe from who deletes."""
        with self._deleting:
            try:
                os.utime(path)
            except FileNotFoundError:
                return False
            return True

    def _delete(self, path: Path) -> bool:
        with self._deleting:
            try:
                if time.time() - path.stat().st_mtime < YOUNG:
                    return False
                path.unlink()
            except FileNotFoundError:
                return False
            except OSError as e:
                logger.warning("%s cannot be deleted: %s", path, e.strerror)
                return False
            return True

    def _reencode(self, name: str, content: bytes) -> tuple[bytes, int, int]:
        try:
            with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
                # Only the header was read so far.
                if image.width * image.height > self._limits.pixels:
                    raise Refused(
                        f"photo {_printable(name)} has {image.width}×{image.height} pixels", code="sink.photo"
                    )
                if image.format != "PNG" and content.count(b"\xff\xda") > SCANS:
                    raise Refused(f"photo {_printable(name)} has more than {SCANS} scans", code="sink.photo")
                turn = _turn(image)
                plain = image if image.mode == "RGB" else image.convert("RGB")
                plain = plain if turn is None else plain.transpose(turn)
                plain.load()
            plain.info = {}  # else a JPEG's comment would be written again
            out = io.BytesIO()
            plain.save(out, "JPEG", quality=QUALITY)
        except (EdgeError, MemoryError):
            raise
        except Exception as e:  # whatever it is: these bytes will not be a photo at the next try either
            raise Refused(
                f"photo {_printable(name)} cannot be decoded: {str(e)[:120]}",
                code="sink.photo",
                hint="send a JPEG or PNG file",
            ) from e
        return out.getvalue(), plain.width, plain.height


def _turn(image: Image.Image) -> Image.Transpose | None:
    """How to turn the picture so that it is upright; None where its EXIF does not say or cannot be read."""
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except MemoryError:
        raise
    except Exception as e:  # noqa: BLE001 - EXIF is the camera's free text; the picture is good without it
        logger.debug("EXIF data cannot be read: %s", e)
        return None


def _printable(name: str) -> str:
    return "".join(c for c in name if c.isprintable())[:128]

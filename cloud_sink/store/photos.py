"""Photos on disk: each photo that a building sends is decoded and encoded again before it is shown.

So EXIF data (place, serial numbers), comments, trailing data and crafted files do not get past this module. A file's
name is the SHA-256 of its new bytes; the files are in 256 folders.
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
"""Seconds in which a new file is not deleted: its alert may not be in the database yet."""
SCANS = 100
"""Most scans of a JPEG. A usual JPEG has up to ten, and each scan takes a pass over all pixels."""
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
# Decoding takes memory in proportion to the pixels, so at most two photos are decoded at a time.
_DECODERS = threading.BoundedSemaphore(2)


class PhotoStore:
    """The folder of photos. Calls block, so they run in threads."""

    def __init__(self, root: Path, limits: Limits) -> None:
        self._root = private_folder(root)
        self._limits = limits
        self._deleting = threading.Lock()

    def put(self, name: str, cid: str, content: bytes) -> StoredPhoto:
        """Re-encode and store a photo durably; raises Refused (`sink.photo`) when it is invalid or too large."""
        with _DECODERS:
            jpeg, width, height = self._reencode(name, content)
        digest = hashlib.sha256(jpeg).hexdigest()
        path = self.path(digest)
        if not self._reused(path):
            private_folder(path.parent)
            write_private(path, jpeg)
        return StoredPhoto(_printable(name), cid, digest, width, height, len(jpeg))

    def path(self, digest: str) -> Path:
        """The path of a photo's file."""
        if not _DIGEST.match(digest):
            raise ValueError("not a digest")
        return self._root / digest[:2] / f"{digest}.jpg"

    def remove(self, digest: str) -> None:
        """Delete a photo that no alert needs, unless it is so new that its alert may still be on the way."""
        self._delete(self.path(digest))

    def sweep(self, wanted: Callable[[], set[str]]) -> int:
        """Delete files without an alert (left by a crash between file and commit); returns their number.

        `wanted` is called after the files are listed, so that files which arrive meanwhile are not deleted.
        """
        found = [path for path in self._root.glob("??/*") if path.is_file()]
        digests = wanted()
        return sum(self._delete(path) for path in found if path.stem not in digests)

    def _reused(self, path: Path) -> bool:
        """True if the file exists; its time is then set to now, so that no clean-up deletes it."""
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
                logger.warning("cannot delete %s: %s", path, e.strerror)
                return False
            return True

    def _reencode(self, name: str, content: bytes) -> tuple[bytes, int, int]:
        try:
            with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
                # At this point only the header has been read.
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
            plain.info = {}  # otherwise a JPEG's comment would be written again
            out = io.BytesIO()
            plain.save(out, "JPEG", quality=QUALITY)
        except (EdgeError, MemoryError):
            raise
        except Exception as e:  # with any error these bytes are not a photo at the next try either
            raise Refused(
                f"cannot decode photo {_printable(name)}: {str(e)[:120]}",
                code="sink.photo",
                hint="send a JPEG or PNG file",
            ) from e
        return out.getvalue(), plain.width, plain.height


def _turn(image: Image.Image) -> Image.Transpose | None:
    """The turn that makes the picture upright; None if its EXIF data do not name it or cannot be read."""
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except MemoryError:
        raise
    except Exception as e:  # noqa: BLE001 - cameras write odd EXIF data; the picture is valid without it
        logger.debug("cannot read EXIF data: %s", e)
        return None


def _printable(name: str) -> str:
    return "".join(c for c in name if c.isprintable())[:128]

"""rescale: it makes photos small, and gives a clear error for an invalid photo."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from agent.blobs import BlobStore
from agent.errors import StepFailed
from agent.executors import Executors, NoLog, Policy, WasmExecutor
from agent.model.event import BlobRef, Event
from agent.model.task import Limits, StepInput, StepOutput, WasmTask


def scene(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """A picture with soft and sharp parts and different corners: red, green, blue, white, clockwise from the top left."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 255 / width, y * 255 / height, 127 + 90 * np.sin(x / 9) * np.cos(y / 7)], -1).astype(
        np.uint8
    )
    corners = [((0, 0), (255, 0, 0)), ((1, 0), (0, 255, 0)), ((1, 1), (0, 0, 255)), ((0, 1), (255, 255, 255))]
    for (right, low), colour in corners:
        ys = slice(height - height // 4, None) if low else slice(0, height // 4)
        xs = slice(width - width // 4, None) if right else slice(0, width // 4)
        pixels[ys, xs] = colour
    return Image.fromarray(pixels).convert(mode)


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def averaged(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The image at that size by exact area average."""
    return Image.fromarray(cv2.resize(np.asarray(image.convert("RGB")), size, interpolation=cv2.INTER_AREA))


def difference(a: Image.Image, b: Image.Image) -> float:
    """Mean absolute difference in 0..255 of the luma (JPEG halves the colours' resolution)."""
    return float(np.abs(np.asarray(a.convert("L"), float) - np.asarray(b.convert("L"), float)).mean())


class Rescale:
    """The step, fed with files; `images` are the decoded results of the last event."""

    def __init__(self, executor: WasmExecutor, module: Path, store: BlobStore, *args: str, **limits: Any) -> None:
        task = WasmTask(module="rescale", args=list(args), limits=Limits(**limits))
        self.store = store
        every: Any = Executors(executor, None, None, Policy(), store)  # type: ignore[arg-type]
        self.runner = every.runner(task, "rescale", NoLog(), module)

    async def __call__(self, *files: tuple[str, bytes, str], **data: Any) -> StepOutput:
        blobs = []
        for name, content, kind in files:
            cid, size = await self.store.put(content)
            blobs.append(BlobRef(name, cid, kind, size, str(self.store.path(cid))))
        event = Event(id="e1", source="/n/p/s", type="camera.photo", time="2026-01-01T00:00:00Z", data=data)
        [output] = await self.runner.run(StepInput(event, blobs))
        return output

    async def one(self, content: bytes, name: str = "p.jpg", kind: str = "image/jpeg") -> Image.Image:
        output = await self((name, content, kind))
        return Image.open(BytesIO(await self.store.read(output.blobs[0].cid)))


@pytest.fixture
def store(tmp_path: Path) -> Any:
    opened = BlobStore(tmp_path / "blobs", 1 << 30)
    yield opened
    opened.close()


@pytest.fixture
async def rescale(executor: WasmExecutor, filters: Path, store: BlobStore) -> AsyncIterator[Rescale]:
    made = Rescale(executor, filters / "rescale.wasm", store)
    await made.runner.start()
    yield made
    await made.runner.close()


async def test_a_full_hd_photo_becomes_640_wide_and_keeps_its_data(rescale: Rescale) -> None:
    big = scene(1920, 1080)
    device = {"name": 'caf\u00e9 "7"', "known": False, "n": [1, {"x": None}]}
    output = await rescale(("hall-1.jpg", encoded(big, quality=90), "image/jpeg"), camera="hall", device=device)
    assert output.type == "image.rescaled"
    assert output.data == {"camera": "hall", "device": device, "width": 640, "height": 360}
    [blob] = output.blobs
    assert (blob.name, blob.type) == ("hall-1.jpg", "image/jpeg")
    small = Image.open(BytesIO(await rescale.store.read(blob.cid)))
    assert small.size == (640, 360)
    assert difference(small, averaged(big, (640, 360))) < 4


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
async def test_the_engine_of_small_devices_makes_the_same_bytes(
    kind: str, small_executor: WasmExecutor, executor: WasmExecutor, filters: Path, store: BlobStore
) -> None:
    content, made = encoded(scene(1280, 720), kind), []
    for each in (small_executor, executor):
        output = await Rescale(each, filters / "rescale.wasm", store)(("p.jpg", content, "image/jpeg"))
        made.append(output.blobs[0].cid)
    assert made[0] == made[1]


@pytest.mark.parametrize("size", [(1280, 720), (721, 1283), (4000, 500), (2592, 1944), (641, 640), (8000, 40)])
async def test_any_shape_fits_and_looks_like_an_area_average(rescale: Rescale, size: tuple[int, int]) -> None:
    big = scene(*size)
    small = await rescale.one(encoded(big, quality=95))
    assert max(small.size) == 640
    assert small.size[1] == pytest.approx(size[1] * 640 / max(size), abs=0.51)
    assert difference(small, averaged(big, small.size)) < 6


@pytest.mark.parametrize(
    ("mode", "kind", "options"),
    [
        ("L", "JPEG", {}), ("RGB", "JPEG", {"progressive": True}), ("RGB", "JPEG", {"subsampling": 0}),
        ("RGB", "PNG", {}), ("L", "PNG", {}), ("P", "PNG", {}), ("RGBA", "PNG", {}), ("LA", "PNG", {}), ("1", "PNG", {}),
        ("I;16", "PNG", {}),
    ],
)  # fmt: skip
async def test_every_common_kind_of_jpeg_and_png_is_read(
    rescale: Rescale, mode: str, kind: str, options: dict[str, Any]
) -> None:
    image = scene(900, 700, "RGB" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257)
    small = await rescale.one(encoded(image, kind, **options), name="p.png", kind="image/png")
    assert small.size == (640, 498)
    want = Image.fromarray((np.asarray(image) // 257).astype(np.uint8)) if mode == "I;16" else image
    assert difference(small, averaged(want, small.size)) < 8


async def test_transparent_pixels_become_white(rescale: Rescale) -> None:
    small = await rescale.one(encoded(Image.new("RGBA", (800, 800), (0, 0, 0, 0)), "PNG"))
    assert np.asarray(small).min() > 250


async def test_a_small_upright_jpeg_is_passed_on_as_it_is(rescale: Rescale) -> None:
    content = encoded(scene(320, 240))
    output = await rescale(("p.jpg", content, "image/jpeg"))
    assert await rescale.store.read(output.blobs[0].cid) == content
    assert (output.data["width"], output.data["height"]) == (320, 240)


async def test_a_small_png_becomes_a_jpeg_of_its_size(rescale: Rescale) -> None:
    output = await rescale(("door.png", encoded(scene(320, 240), "PNG"), "image/png"))
    assert (output.blobs[0].name, output.blobs[0].type) == ("door.jpg", "image/jpeg")
    assert Image.open(BytesIO(await rescale.store.read(output.blobs[0].cid))).size == (320, 240)


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("orientation", range(1, 9))
async def test_exif_orientation_is_applied(rescale: Rescale, orientation: int, order: str) -> None:
    image = scene(1000, 600)
    o = "<" if order == "little" else ">"
    tiff = struct.pack(o + "2sHIHHHIHxxI", b"II" if o == "<" else b"MM", 42, 8, 1, 0x0112, 3, 1, orientation, 0)
    small = await rescale.one(encoded(image, quality=95, exif=b"Exif\0\0" + tiff))
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }  # fmt: skip
    want = image.transpose(turns[orientation]) if orientation > 1 else image
    assert difference(small, averaged(want, small.size)) < 6


async def test_images_and_other_blobs_keep_order_and_names(rescale: Rescale) -> None:
    jpeg, png = encoded(scene(800, 600)), encoded(scene(800, 600), "PNG")
    files = [("a.jpg", jpeg, "image/jpeg"), ("a.png", png, "image/png"), ("notes.txt", b"hello", "text/plain")]
    output = await rescale(*files)
    assert [b.name for b in output.blobs] == ["a.jpg", "a-1.jpg", "notes.txt"]
    assert await rescale.store.read(output.blobs[2].cid) == b"hello"


async def test_max_is_an_option(executor: WasmExecutor, filters: Path, store: BlobStore) -> None:
    step = Rescale(executor, filters / "rescale.wasm", store, "--max", "100")
    assert (await step.one(encoded(scene(800, 400)))).size == (100, 50)
    with pytest.raises(StepFailed):
        await Rescale(executor, filters / "rescale.wasm", store, "--max", "many").one(encoded(scene(800, 400)))


GOOD = encoded(scene(900, 700))
PNG = encoded(scene(900, 700), "PNG")


def with_size(jpeg: bytes, width: int, height: int) -> bytes:
    at = jpeg.index(b"\xff\xc0")
    return jpeg[: at + 5] + struct.pack(">HH", height, width) + jpeg[at + 9 :]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "neither a JPEG nor a PNG"),
        (b"hello", "neither a JPEG nor a PNG"),
        (GOOD[: len(GOOD) // 2], "damaged or cut off"),
        (GOOD[:200], "p.jpg: "),
        (b"\xff\xd8\xff\xd9", "p.jpg: "),
        (with_size(GOOD, 65_000, 65_000), "more than 50 million"),
        (with_size(GOOD, 0, 700), "p.jpg: "),
        (PNG[: len(PNG) // 2], "PNG is damaged"),
        (PNG[:8], "PNG is damaged"),
        (PNG[:16] + struct.pack(">II", 60_000, 60_000) + PNG[24:], "more than 50 million"),
        (encoded(scene(900, 700, "CMYK")), "CMYK"),
    ],
)
async def test_invalid_photo_is_a_final_error_that_names_it(rescale: Rescale, content: bytes, says: str) -> None:
    with pytest.raises(StepFailed, match=says) as caught:
        await rescale(("p.jpg", content, "image/jpeg"))
    assert caught.value.final


async def test_an_event_without_an_image_is_a_final_error(rescale: Rescale) -> None:
    with pytest.raises(StepFailed, match="no image") as caught:
        await rescale(("notes.txt", b"hello", "text/plain"))
    assert caught.value.final


async def test_damaged_bytes_give_only_a_photo_or_an_error(rescale: Rescale) -> None:
    rng = np.random.default_rng(3)
    outcomes = set()
    for content in (
        encoded(scene(200, 150)),
        encoded(scene(200, 150), progressive=True),
        encoded(scene(60, 50), "PNG"),
    ):
        for _ in range(25):
            damaged = bytearray(content)
            for at in rng.integers(2, len(content), 6):
                damaged[at] = int(rng.integers(256))
            try:
                await rescale(("p.jpg", bytes(damaged), "image/jpeg"))
                outcomes.add("photo")
            except StepFailed as e:
                outcomes.add("error" if e.final else e.message)
    assert outcomes == {"photo", "error"}


async def test_picture_beyond_the_memory_limit_is_a_clear_error(
    executor: WasmExecutor, filters: Path, store: BlobStore
) -> None:
    step = Rescale(executor, filters / "rescale.wasm", store, memory=4 << 20)
    with pytest.raises(StepFailed) as caught:
        await step.one(encoded(scene(2000, 1500), "PNG"), name="p.png")
    assert "memory" in caught.value.message


def test_modules_import_only_wasi_preview_1(filters: Path) -> None:
    import wasmtime

    for path in filters.glob("*.wasm"):
        module = wasmtime.Module.from_file(wasmtime.Engine(), str(path))
        assert {i.module for i in module.imports} == {"wasi_snapshot_preview1"}, path
        assert "_start" in {e.name for e in module.exports}

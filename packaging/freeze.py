"""Builds a frozen tree: a folder that runs on a device without Python and brings its own C library.

    python3 packaging/freeze.py ARCH [--variant camera|detector] [--program edge-agent|edge-sink] [--out DIR] [--fresh]
    python3 packaging/freeze.py ARCH [--variant …] --lock      write packaging/lock/ again from pyproject.toml

ARCH is x86_64, aarch64 or armv7. A tree of this machine's architecture is built here, others in a Debian root under
qemu-user (as root). The tree appears in build/dist/ARCH[-VARIANT]/PROGRAM. Trees, roots and libraries are kept in
~/.cache/edge-agent, so a second build of the same sources takes a second; --fresh builds anyway. Two builds are equal byte
for byte. Exit codes: 0 built, 1 failed, 2 wrong use.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import shutil
import stat
import sys
from pathlib import Path

from lock import lock_file, write_lock
from roots import ARCHES, CACHE, Arch, CannotFreeze, Here, Root, alone, place, say

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "packaging"
EPOCH = 1767225600
"""Time of all files of a tree (2026-01-01) unless SOURCE_DATE_EPOCH is set: equal sources make equal trees."""
KEEP = 5
"""Trees, and environments to build them, that the cache keeps for each architecture and variant."""
GLIBC = (
    "libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libutil.so.1", "libresolv.so.2", "libnss_dns.so.2",
    "libnss_files.so.2",
)  # fmt: skip
"""The C library's files: all that the program's libraries load, and those that look up names."""
PROGRAMS = {"edge-agent": ("agent",), "edge-sink": ("agent", "cloud_sink")}
BUILTIN = ("wifi-join", "rescale")
"""The WASM programs that come with the agent."""
VARIANTS = ("", "camera", "detector")
LAUNCHER = """\
#!/bin/sh
# Starts {program} through the C library in this folder: the system may have an older one, another one (musl) or none.
self=$0
case $self in */*) ;; *) self=$(command -v -- "$self") ;; esac
while [ -h "$self" ]; do
    target=$(readlink "$self")
    case $target in /*) self=$target ;; *) self=${{self%/*}}/$target ;; esac
done
here=$(cd "${{self%/*}}/_internal" && pwd -P) || exit 127
exec "$here/{loader}" --library-path "$here" "$here/{program}" "$@"
"""


def main() -> int:
    """Parse the command line and build."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("arch", choices=sorted(ARCHES))
    parser.add_argument("--variant", choices=VARIANTS, default="")
    parser.add_argument("--program", choices=sorted(PROGRAMS), default="edge-agent")
    parser.add_argument("--out", type=Path, help="folder for the tree, instead of build/dist/ARCH[-VARIANT]")
    parser.add_argument("--fresh", action="store_true", help="build even if the cache has this tree")
    parser.add_argument("--lock", action="store_true", help="write the lock file and build nothing")
    a = parser.parse_args()
    arch = ARCHES[a.arch]
    if a.program != "edge-agent" and a.variant:
        parser.error("only edge-agent has variants")
    try:
        if sys.version_info[:2] != (3, 11):
            raise CannotFreeze("the lock files name libraries for Python 3.11, Debian 12's: use make PYTHON=python3.11")
        if a.lock:
            write_lock(ROOT, arch, a.program, a.variant)
            return 0
        out = a.out or ROOT / "build/dist" / "-".join(filter(None, (arch.name, a.variant)))
        build(arch, a.program, a.variant, out / a.program, fresh=a.fresh)
    except CannotFreeze as e:
        say(str(e))
        return 1
    return 0


def build(arch: Arch, program: str, variant: str, target: Path, *, fresh: bool = False) -> None:
    """Put the tree at `target`, from the cache where it was built before; raises CannotFreeze."""
    name = "-".join(filter(None, (program, arch.name, variant)))
    lock = lock_file(ROOT, arch, program, variant)
    if not lock.exists():
        raise CannotFreeze(
            f"there is no {lock.relative_to(ROOT)}: {name} cannot be built, or run freeze.py with --lock"
        )
    kept = CACHE / "trees" / f"{name}-{key(program, lock)}"
    made_of = [
        build_lock(lock).read_bytes(),
        lock.read_bytes(),
        f"{sys.version} {Path(sys.executable).resolve()}".encode(),
    ]
    work = CACHE / "freeze" / f"{lock.stem}-{hashlib.sha256(b''.join(made_of)).hexdigest()[:12]}"
    with alone(work):
        if fresh or not kept.exists():
            make(place(arch, work, ROOT / "build" / f"freeze-{lock.stem}.log", ROOT), program, variant, lock, kept)
    prune(kept.parent, f"{name}-" + "?" * 16)
    prune(work.parent, f"{lock.stem}-" + "?" * 12)
    part = target.with_name(f".{target.name}.{os.getpid()}")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(kept, part, symlinks=True)
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)
    size = sum(f.stat().st_size for f in target.rglob("*"))
    say(f"{target} is there ({size / 1e6:.1f} MB)")


def make(where: Here | Root, program: str, variant: str, lock: Path, kept: Path) -> None:
    """Build a tree and put it at `kept`; raises CannotFreeze."""
    environment(where, lock)
    say(f"freezing {program} for {where.arch.name} {variant}".rstrip())
    scratch = where.work / f"build.{os.getpid()}"
    try:
        settings = {
            "SOURCE_DATE_EPOCH": str(epoch()),
            "PYTHONHASHSEED": "0",
            "PYINSTALLER_CONFIG_DIR": str(where.inside(scratch / "config")),
        }
        where.run(
            work_bin(where, "python"), "-m", "PyInstaller", "--noconfirm", "--clean", "--log-level", "WARN",
            "--workpath", where.inside(scratch / "work"), "--distpath", where.inside(scratch), where.inside(HERE / "pyinstaller.spec"),
            "--", program, variant,
            env=settings,
        )  # fmt: skip
        tree = scratch / program
        tree.mkdir()
        (scratch / "_internal").rename(tree / "_internal")
        finish(where, tree, program, variant)
        shutil.rmtree(kept, ignore_errors=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        tree.rename(kept)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def environment(where: Here | Root, lock: Path) -> None:
    """The virtual environment with exactly the lock's libraries; `work` belongs to this lock."""
    stamp = where.work / "installed"
    if stamp.exists():
        return
    say(f"installing the libraries of {lock.name} (once; minutes where they are compiled)")
    shutil.rmtree(where.work / "venv", ignore_errors=True)
    shutil.rmtree(where.work / "locks", ignore_errors=True)
    shutil.copytree(lock.parent, where.work / "locks")
    where.run(where.python(), "-m", "venv", where.inside(where.work / "venv"))
    pip = (work_bin(where, "python"), "-m", "pip")
    locks = where.inside(where.work / "locks")
    hashed = ("--require-hashes", "--no-deps", "--disable-pip-version-check", "--progress-bar", "off")
    where.run(*pip, "install", *hashed, "-r", locks / build_lock(lock).name)
    # A library without a wheel is compiled, and pip's cache keeps what came of it.
    where.run(
        *pip, "install", *hashed, "--no-build-isolation", "-r", locks / lock.name,
        env={"SOURCE_DATE_EPOCH": str(epoch()), "PYTHONHASHSEED": "0"},
    )  # fmt: skip
    stamp.touch()


def build_lock(lock: Path) -> Path:
    """The lock of the tools that build libraries."""
    return lock.with_name("build.txt")


def work_bin(where: Here | Root, name: str) -> Path:
    """A program of the virtual environment."""
    return where.inside(where.work / "venv/bin") / name


def finish(where: Here | Root, tree: Path, program: str, variant: str) -> None:
    """Add the C library, the filters, the launcher and tree.json, and make modes and times the same everywhere."""
    internal, arch = tree / "_internal", where.arch
    for name in (*GLIBC, arch.loader):
        shutil.copyfile(where.libraries / name, internal / name)
    executable = {internal / arch.loader, internal / program, tree / program}
    if program == "edge-agent":
        share(internal / "share")
    (tree / program).write_text(LAUNCHER.format(program=program, loader=arch.loader))
    facts = {
        "program": program,
        "version": constant("__version__"),
        "protocol": constant("PROTOCOL"),
        "arch": arch.name,
        "variant": variant,
    }
    (internal / "tree.json").write_text(json.dumps(facts, indent=1) + "\n")
    for path in sorted(tree.rglob("*"), reverse=True):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path in executable else 0o644)
        os.utime(path, (epoch(), epoch()), follow_symlinks=False)
    tree.chmod(0o755)
    os.utime(tree, (epoch(), epoch()))


def share(folder: Path) -> None:
    """Copy the WASM programs and the examples that come with the agent (agent/shared.py)."""
    for kind, files in (("programs", programs()), ("examples", sorted((ROOT / "examples").glob("*.yaml")))):
        (folder / kind).mkdir(parents=True)
        for file in files:
            shutil.copyfile(file, folder / kind / file.name)


def programs() -> list[Path]:
    """The built WASM programs that travel with the agent."""
    built = [ROOT / f"build/filters/{name}.wasm" for name in BUILTIN]
    if missing := [str(p) for p in built if not p.is_file()]:
        raise CannotFreeze(f"{' and '.join(missing)} must be built first: python3 scripts/setup.py dist")
    return built


def constant(name: str) -> object:
    """A constant of agent/__init__.py, which is read and not imported."""
    for node in ast.parse((ROOT / "agent/__init__.py").read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            return ast.literal_eval(node.value)
    raise CannotFreeze(f"agent/__init__.py has no {name}")


def epoch() -> int:
    """The time of the tree's files, in Unix seconds."""
    return int(os.environ.get("SOURCE_DATE_EPOCH") or EPOCH)


def key(program: str, lock: Path) -> str:
    """A hash of all that a tree is made from."""
    sources = [f for package in PROGRAMS[program] for f in (ROOT / package).rglob("*") if f.suffix != ".pyc"]
    scripts = [HERE / "freeze.py", *HERE.glob("entry*.py"), HERE / "pyinstaller.spec"]
    made_of = hashlib.sha256(f"{sys.version} {epoch()} {Path(sys.executable).resolve()}".encode())
    for file in sorted([*sources, *scripts, lock, build_lock(lock), *programs(), *(ROOT / "examples").glob("*.yaml")]):
        if file.is_file() and not stat.S_ISLNK(file.lstat().st_mode):
            made_of.update(f"{file.relative_to(ROOT)}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return made_of.hexdigest()[:16]


def prune(folder: Path, pattern: str) -> None:
    """Remove all but the newest folders of this name."""
    found = sorted((p for p in folder.glob(pattern) if p.is_dir()), key=lambda p: p.stat().st_ctime)
    for old in found[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())

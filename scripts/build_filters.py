"""Build the WASM programs under filters/ into build/filters/*.wasm.

    python scripts/build_filters.py [--force] [NAME ...]

The compiler is Zig's C compiler from the `ziglang` package. The third-party sources that rescale needs (a JPEG and a
PNG library) are not part of the repository: they come from Debian's source packages through apt-get, are checked by
SHA-256 and kept under .cache/. A target is built again only when its sources, the compiler or its options changed; a
second run needs no network and does nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILTERS = ROOT / "filters"
CACHE = ROOT / ".cache"
OUT = ROOT / "build" / "filters"

# Both engines need it: mvp because the small one knows no newer feature; Zig's default stack alone would be 16 MiB.
COMMON = ["-target", "wasm32-wasi", "-mcpu=mvp", "-O3", "-Wl,-z,stack-size=131072", "-Wl,--strip-all"]
WARN = ["-Wall", "-Wextra", "-Werror"]


class BuildError(Exception):
    """The reason why the build failed, for the user."""


@dataclass(frozen=True)
class Archive:
    """A Debian source package's upstream tarball, pinned by SHA-256."""

    package: str
    file: str
    sha256: str


JPEG = Archive(
    "libjpeg-turbo",
    "libjpeg-turbo_2.1.5.orig.tar.gz",
    "254f3642b04e309fee775123133c6464181addc150499561020312ec61c1bf7c",
)
STB = Archive(
    "libstb",
    "libstb_0.0~git20220908.8b5f1f3+ds.orig.tar.xz",
    "6949c8ff9f86d982cff1b384f1301a731cbaf3b3fa4d1728c7b48a02386d31d8",
)

# The parts of the JPEG library that decode and encode 8-bit baseline and progressive files, without SIMD.
JPEG_SOURCES = """
jcapimin jcapistd jccoefct jccolor jcdctmgr jchuff jcicc jcinit jcmainct jcmarker jcmaster jcomapi jcparam jcphuff
jcprepct jcsample jdapimin jdapistd jdatadst jdatasrc jdcoefct jdcolor jddctmgr jdhuff jdicc jdinput jdmainct jdmarker
jdmaster jdmerge jdphuff jdpostct jdsample jerror jfdctflt jfdctfst jfdctint jidctflt jidctfst jidctint jidctred
jquant1 jquant2 jutils jmemmgr jmemnobs jsimd_none
"""

# The headers that the JPEG library's configure step would write for wasm32.
JPEG_HEADERS = {
    "jconfig.h": """
#define JPEG_LIB_VERSION 62
#define LIBJPEG_TURBO_VERSION 2.1.5
#define LIBJPEG_TURBO_VERSION_NUMBER 2001005
#define MEM_SRCDST_SUPPORTED 1
#define BITS_IN_JSAMPLE 8
#define HAVE_STDDEF_H 1
#define HAVE_STDLIB_H 1
#define HAVE_UNSIGNED_CHAR 1
#define HAVE_UNSIGNED_SHORT 1
""",
    "jconfigint.h": """
#define BUILD "edge-agent"
#define INLINE __inline__ __attribute__((always_inline))
#define THREAD_LOCAL
#define PACKAGE_NAME "libjpeg-turbo"
#define VERSION "2.1.5"
#define SIZEOF_SIZE_T 4
#define HAVE_BUILTIN_CTZL 1
#define FALLTHROUGH __attribute__((fallthrough));
""",
    "jversion.h": """
#define JVERSION "2.1.5"
#define JCOPYRIGHT "(C) its authors"
#define JCOPYRIGHT_SHORT "(C) its authors"
""",
}


@dataclass(frozen=True)
class Target:
    """One module: its own sources (paths under filters/), its memory limit in bytes and what it is linked with."""

    name: str
    sources: tuple[str, ...]
    memory: int
    archives: tuple[Archive, ...] = ()
    depends: tuple[str, ...] = ("edge.h",)
    flags: tuple[str, ...] = field(default=())


def parts_of(name: str) -> tuple[str, ...]:
    """The headers of one program: those in its folder."""
    return tuple(f"{name}/{path.name}" for path in sorted((FILTERS / name).glob("*.h")))


UNSET = ("-Wno-missing-field-initializers",)  # a row of a table sets only the members that differ from zero
MIB = 1 << 20
TARGETS = (
    Target("wifi-join", ("wifi-join.c",), 4 * MIB, depends=("edge.h", *parts_of("wifi-join")), flags=UNSET),
    Target("rescale", ("rescale.c",), 512 * MIB, (JPEG, STB)),
    Target("wifi-join-zig", ("wifi-join.zig",), 4 * MIB, depends=()),
)


def say(text: str) -> None:
    """Print one line of progress at once."""
    print(text, flush=True)


def run(command: list[str], *, cwd: Path = ROOT, env: dict[str, str] | None = None) -> None:
    """Run a tool; raises BuildError with the end of its output."""
    try:
        done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, errors="replace", check=False)
    except FileNotFoundError as error:
        raise BuildError(f"{command[0]} is not installed") from error
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-25:])
        raise BuildError(f"{' '.join(command[:6])} … failed with exit code {done.returncode}:\n{tail}")


def sha256(path: Path) -> str:
    """The file's SHA-256 in hex."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


# ---- the compiler ----


def zig(command: str, arguments: list[str], *, cwd: Path = ROOT) -> None:
    """Run the packaged Zig with its caches inside the checkout."""
    env = {
        **os.environ,
        "ZIG_GLOBAL_CACHE_DIR": str(CACHE / "zig"),
        "ZIG_LOCAL_CACHE_DIR": str(CACHE / "zig"),
    }
    run([sys.executable, "-m", "ziglang", command, *arguments], cwd=cwd, env=env)


def zig_version() -> str:
    """The compiler's version; raises BuildError if it is missing."""
    try:
        return version("ziglang")
    except PackageNotFoundError as error:
        raise BuildError("the ziglang package is missing; install it with: pip install 'edge-agent[demo]'") from error


# ---- third-party sources ----


def debian_sources() -> str:
    """The host's Debian archives as deb-src entries; raises BuildError if there are none."""
    stanzas: list[str] = []
    etc = Path("/etc/apt")
    for path in sorted(etc.glob("sources.list.d/*.sources")):
        for stanza in path.read_text().split("\n\n"):
            lines = [line for line in stanza.splitlines() if line and not line.startswith("#")]
            types = [line for line in lines if line.startswith("Types:")]
            if types and any("debian" in line for line in lines if line.startswith("URIs:")):
                stanzas.append("\n".join(["Types: deb-src", *(x for x in lines if not x.startswith("Types:"))]))
    for path in [etc / "sources.list", *sorted(etc.glob("sources.list.d/*.list"))]:
        for line in path.read_text().splitlines() if path.exists() else []:
            words = [w for w in line.split() if not w.startswith("[")]
            if len(words) >= 4 and words[0] == "deb" and "debian" in words[1]:
                stanzas.append(
                    f"Types: deb-src\nURIs: {words[1]}\nSuites: {words[2]}\nComponents: {' '.join(words[3:])}"
                )
    if not stanzas:
        raise BuildError("no Debian archive is configured on this machine")
    return "\n\n".join(dict.fromkeys(stanzas)) + "\n"


def apt_source(archive: Archive, folder: Path) -> None:
    """Fetch the package's upstream tarball into `folder` with apt-get, with separate lists and without root."""
    with tempfile.TemporaryDirectory(prefix="edge-apt-") as name:
        apt = Path(name)
        for sub in ("parts", "state/lists/partial", "cache/archives/partial", "download"):
            (apt / sub).mkdir(parents=True)
        (apt / "parts" / "debian.sources").write_text(debian_sources())
        options = {
            "Dir::Etc::sourcelist": "/dev/null",
            "Dir::Etc::sourceparts": f"{apt}/parts",
            "Dir::State": f"{apt}/state",
            "Dir::State::status": "/var/lib/dpkg/status",
            "Dir::Cache": f"{apt}/cache",
            "Debug::NoLocking": "true",
            "APT::Sandbox::User": "root",
        }
        flags = [x for key, value in options.items() for x in ("-o", f"{key}={value}")]
        run(["apt-get", *flags, "-q", "update"], cwd=apt)
        run(["apt-get", *flags, "-q", "source", "--download-only", "--tar-only", archive.package], cwd=apt / "download")
        fetched = apt / "download" / archive.file
        if not fetched.exists():
            raise BuildError(f"the configured Debian archive has no {archive.file}")
        shutil.move(fetched, folder / archive.file)


def fetch(archive: Archive) -> Path:
    """The checked tarball in the cache; fetches it if it is missing."""
    folder = CACHE / "sources"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / archive.file
    if not path.exists():
        say(f"fetch    {archive.file}")
        try:
            apt_source(archive, folder)
        except BuildError as error:
            raise BuildError(
                f"could not fetch {archive.file}: {error}\ncopy that file of Debian 12's source package "
                f"{archive.package} to {folder} and run this again"
            ) from error
    if (found := sha256(path)) != archive.sha256:
        path.unlink()
        raise BuildError(f"{archive.file} has SHA-256 {found} instead of {archive.sha256}: deleted, nothing was built")
    return path


def unpack(archive: Archive) -> Path:
    """The folder with the tarball's files, unpacked once."""
    folder = CACHE / "sources" / archive.sha256[:16]
    if not folder.exists():
        part = folder.with_suffix(f".{os.getpid()}")
        with tarfile.open(fetch(archive)) as tar:
            # Python before 3.11.4, as in Debian 12, has no filters; the archive's hash is known.
            tar.extraction_filter = getattr(tarfile, "data_filter", None)
            tar.extractall(part)  # noqa: S202
        part.rename(folder)
    return next(p for p in folder.iterdir() if p.is_dir())


def jpeg_library() -> Path:
    """The folder with libjpeg.a for wasm32 and its headers, compiled once for this compiler and these options."""
    key = hashlib.sha256(repr((JPEG, JPEG_SOURCES, JPEG_HEADERS, COMMON, zig_version())).encode()).hexdigest()[:16]
    folder = CACHE / "jpeg" / key
    if (folder / "libjpeg.a").exists():
        return folder
    source = unpack(JPEG)
    say(f"compile  {JPEG.package} ({len(JPEG_SOURCES.split())} files)")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in JPEG_HEADERS.items():
        (folder / name).write_text(text.lstrip())
    for header in source.glob("*.h"):
        if header.name not in JPEG_HEADERS:
            shutil.copy(header, folder / header.name)
    flags = [f for f in COMMON if not f.startswith("-Wl,")]
    with tempfile.TemporaryDirectory(dir=folder) as objects:

        def one(name: str) -> str:
            to = f"{objects}/{name}.o"
            zig("cc", [*flags, "-w", "-c", f"-I{folder}", f"-I{source}", str(source / f"{name}.c"), "-o", to])
            return to

        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            built = list(pool.map(one, JPEG_SOURCES.split()))
        zig("ar", ["rcs", str(folder / "part.a"), *built])
    (folder / "part.a").rename(folder / "libjpeg.a")
    return folder


# ---- targets ----


def stamp_of(target: Target) -> str:
    """A hash of all inputs of the module."""
    h = hashlib.sha256()
    for name in (*target.sources, *target.depends):
        h.update(name.encode() + b"\0" + (FILTERS / name).read_bytes())
    h.update(repr((target, COMMON, WARN, zig_version())).encode())
    if target.archives:
        h.update(repr((JPEG_SOURCES, JPEG_HEADERS)).encode())
    return h.hexdigest()


def build(target: Target, out: Path) -> None:
    """Compile one module to `out`."""
    sources = [str(FILTERS / name) for name in target.sources]
    if target.sources[0].endswith(".zig"):
        # Zig's own front end has the same options under other names.
        options = ["-target", "wasm32-wasi", "-mcpu=mvp", "-OReleaseFast", "-fstrip", "--stack", "131072"]
        zig("build-exe", [*sources, *options, f"--max-memory={target.memory}", f"-femit-bin={out}"])
        return
    flags = [*COMMON, *WARN, f"-Wl,--max-memory={target.memory}", f"-I{FILTERS}", *target.flags]
    if target.archives:
        library = jpeg_library()
        flags += [f"-I{library}", f"-isystem{unpack(STB)}", str(library / "libjpeg.a")]
    zig("cc", [*sources, *flags, "-o", str(out)])


def make(target: Target, *, force: bool) -> bool:
    """Build the target unless it is up to date; returns True if it was built."""
    out, stamp = OUT / f"{target.name}.wasm", OUT / f".stamp-{target.name}"
    want = stamp_of(target)
    if not force and out.exists() and stamp.exists() and stamp.read_text() == f"{want} {sha256(out)}":
        return False
    started = time.monotonic()
    part = OUT / f"{target.name}.{os.getpid()}.part.wasm"
    try:
        build(target, part)
        if part.read_bytes()[:4] != b"\0asm":
            raise BuildError(f"{target.name}: the compiler's output is not a WASM module")
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    stamp.write_text(f"{want} {sha256(out)}")
    say(f"built    {out.relative_to(ROOT)}  {out.stat().st_size / 1024:.0f} KiB  {time.monotonic() - started:.1f} s")
    return True


def main() -> int:
    """Build the named targets; exit code 1 with the reason on failure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"one of {', '.join(t.name for t in TARGETS)}; default all"
    )
    parser.add_argument("--force", action="store_true", help="build again even if nothing changed")
    options = parser.parse_args()
    known = {t.name: t for t in TARGETS}
    if unknown := [n for n in options.names if n not in known]:
        parser.error(f"unknown name {unknown[0]}; known names: {', '.join(known)}")
    OUT.mkdir(parents=True, exist_ok=True)
    try:
        built = [make(known[name], force=options.force) for name in options.names or known]
    except BuildError as error:
        print(f"build_filters: {error}", file=sys.stderr)
        return 1
    if not any(built):
        say("filters are up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())

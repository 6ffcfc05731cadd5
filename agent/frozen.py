"""The frozen program: how it starts itself again, and what it needs from a system that has no Python and no glibc.

A frozen tree is a folder with a launcher and `_internal/`, which holds the program, its libraries, a C library with its loader,
and `tree.json`. `packaging/freeze.py` builds it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, OpenWrt, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",
)
"""Where systems keep their CA certificates; a user's own CA is there too, so these come before the tree's."""
BUNDLE = "certifi/cacert.pem"
"""The tree's CA certificates, below `_internal/`."""
COMM = Path("/proc/self/comm")
"""The name of this process."""
_LIBRARIES = "LD_LIBRARY_PATH"
_KEPT = "LD_LIBRARY_PATH_ORIG"
_BOOTLOADER = "_PYI_"


def internal() -> Path | None:
    """The folder `_internal` of the frozen tree; None where Python runs the sources."""
    return Path(sys._MEIPASS) if getattr(sys, "frozen", False) else None  # type: ignore[attr-defined]


def own_command() -> list[str]:
    """The command that starts this frozen program, to be followed by its arguments.

    It names the tree's loader, since the program's own may be absent (musl) or older.
    """
    folder = internal()
    if folder is None:
        raise RuntimeError("the program is not frozen")
    loader = next(folder.glob("ld-*.so.*"), None)
    if loader is None:
        return [sys.executable]
    return [str(loader), "--library-path", str(folder), sys.executable]


def prepare() -> None:
    """Make the environment right before anything else runs in a frozen program.

    PyInstaller's start puts the tree's folder into LD_LIBRARY_PATH and keeps the value from before in LD_LIBRARY_PATH_ORIG
    (its manual, "LD_LIBRARY_PATH / LIBPATH considerations"). The libraries of the tree crash programs of the system. The
    loader has read the variable already, so this process still finds them. OpenSSL looks for CA certificates where the
    build machine has them; SSL_CERT_FILE names those of this system, else those of the tree.
    """
    folder = internal()
    if folder is None:
        return
    os.environ.pop(_LIBRARIES, None)
    if _KEPT in os.environ:
        os.environ[_LIBRARIES] = os.environ.pop(_KEPT)
    for name in [n for n in os.environ if n.startswith(_BOOTLOADER)]:
        del os.environ[name]
    # The loader's name would be this process's in `ps` and `pidof`.
    COMM.write_text(Path(sys.executable).name)
    if "SSL_CERT_FILE" not in os.environ and "SSL_CERT_DIR" not in os.environ:
        places = (*CERTIFICATES, str(folder / BUNDLE))
        os.environ["SSL_CERT_FILE"] = next((p for p in places if os.path.isfile(p)), places[-1])  # noqa: PTH113

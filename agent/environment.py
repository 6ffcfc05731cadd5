"""The environment of child processes."""

from __future__ import annotations

import os

_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH")


def clean_environment(**more: str) -> dict[str, str]:
    """What a child may know of ours: no secrets, and the library path as it was before PyInstaller changed it.

    PyInstaller's run-time puts its own folder into LD_LIBRARY_PATH and keeps the original in LD_LIBRARY_PATH_ORIG
    (its manual, "LD_LIBRARY_PATH / LIBPATH considerations"); with it, programs of the host may crash.
    """
    env = {k: os.environ[k] for k in _KEPT if k in os.environ}
    original = os.environ.get("LD_LIBRARY_PATH_ORIG")
    if original is not None:
        env["LD_LIBRARY_PATH"] = original
    env.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin")
    return env | more

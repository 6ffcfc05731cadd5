"""The environment of programs that the agent starts."""

from __future__ import annotations

import os
from collections.abc import Mapping

_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH")


def child_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment for the system's programs: with the library path from before PyInstaller's changes.

    PyInstaller's run-time puts its folder into LD_LIBRARY_PATH and keeps the original in LD_LIBRARY_PATH_ORIG, if there
    was one (its manual, "LD_LIBRARY_PATH / LIBPATH considerations"). Bundled libraries crash other programs.
    """
    result = dict(os.environ if environ is None else environ)
    if "LD_LIBRARY_PATH_ORIG" in result:
        result["LD_LIBRARY_PATH"] = result.pop("LD_LIBRARY_PATH_ORIG")
    elif "_MEIPASS2" in result or "_PYI_APPLICATION_HOME_DIR" in result:
        result.pop("LD_LIBRARY_PATH", None)
    return result


def clean_environment(**more: str) -> dict[str, str]:
    """The environment for workers and programs of pipelines: a few variables without secrets, and `more`."""
    ours = child_environment()
    env = {k: ours[k] for k in _KEPT if k in ours}
    env.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin")
    return env | more

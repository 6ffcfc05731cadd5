"""The environment of programs that the agent starts."""

from __future__ import annotations

import os

from agent.frozen import BUNDLE, internal

_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH")


def child_environment() -> dict[str, str]:
    """This process's environment, for the system's programs: without the CA certificates of a frozen tree.

    `agent.frozen.prepare` has already taken the tree's libraries out of it.
    """
    result = dict(os.environ)
    folder = internal()
    if folder is not None and result.get("SSL_CERT_FILE") == str(folder / BUNDLE):
        del result["SSL_CERT_FILE"]
    return result


def clean_environment(**more: str) -> dict[str, str]:
    """The environment for workers and programs of pipelines: a few variables without secrets, and `more`."""
    ours = child_environment()
    env = {k: ours[k] for k in _KEPT if k in ours}
    env.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin")
    return env | more

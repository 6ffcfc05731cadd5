"""uvicorn without its command line.

`import uvicorn` loads its command line too, with click, multiprocessing and the reloaders: 1.5 MB that every running agent
would keep. Its version is pinned (pyproject.toml), since this replaces a module of it for the time of the import.
"""

from __future__ import annotations

import sys
from types import ModuleType

_MAIN = "uvicorn.main"


def _without_main() -> None:
    stand_in = ModuleType(_MAIN)
    stand_in.__dict__.update(dict.fromkeys(("Server", "main", "run")))
    sys.modules[_MAIN] = stand_in
    try:
        import uvicorn
        import uvicorn.server
    finally:
        del sys.modules[_MAIN]  # another import loads the real module
    vars(uvicorn)["Server"] = uvicorn.server.Server
    for name in ("main", "run"):
        delattr(uvicorn, name)


if "uvicorn" not in sys.modules:
    _without_main()

from uvicorn.config import Config  # noqa: E402
from uvicorn.protocols.http.h11_impl import H11Protocol  # noqa: E402
from uvicorn.server import Server  # noqa: E402

__all__ = ["Config", "H11Protocol", "Server"]

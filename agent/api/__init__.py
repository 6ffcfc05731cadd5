"""The local HTTP API on a unix socket: its resources, its server, and a client of it.

Each part of the face is loaded when it is first used: the command line needs the client and the `results` alone. The packages
`resources` and `results` belong to the face as they are.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.api import resources, results
    from agent.api.client import Client, RemoteError, path_of, read
    from agent.api.install import serve_install
    from agent.api.resolve import Resolver, serve_image
    from agent.api.resources import Resources
    from agent.api.server import make_app, serve_api

__all__ = [
    "Client", "RemoteError", "Resolver", "Resources", "make_app", "path_of", "read", "resources", "results",
    "serve_api", "serve_image", "serve_install",
]  # fmt: skip

_PLACES = {
    "client": ("Client", "RemoteError", "path_of", "read"),
    "install": ("serve_install",),
    "resolve": ("Resolver", "serve_image"),
    "resources": ("Resources",),
    "server": ("make_app", "serve_api"),
}


def __getattr__(name: str) -> Any:
    if name in ("resources", "results"):
        return import_module(f"{__name__}.{name}")
    for module, names in _PLACES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

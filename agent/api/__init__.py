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
    from agent.api.resolve import Resolver, serve_image
    from agent.api.resources import Resources
    from agent.api.server import make_app, serve_api

__all__ = [
    "Client", "RemoteError", "Resolver", "Resources", "make_app", "path_of", "read", "resources", "results",
    "serve_api", "serve_image",
]  # fmt: skip

_PLACES = {
    "Client": "agent.api.client",
    "RemoteError": "agent.api.client",
    "Resolver": "agent.api.resolve",
    "Resources": "agent.api.resources",
    "make_app": "agent.api.server",
    "path_of": "agent.api.client",
    "read": "agent.api.client",
    "serve_api": "agent.api.server",
    "serve_image": "agent.api.resolve",
}


def __getattr__(name: str) -> Any:
    if name in ("resources", "results"):
        return import_module(f"{__name__}.{name}")
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)

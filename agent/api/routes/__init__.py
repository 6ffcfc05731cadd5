"""One module per noun."""

from __future__ import annotations

from starlette.routing import Route

from agent.api.routes import blobs, cameras, config, devices, nodes, pipelines, sink, status, tokens


def all_routes() -> list[Route]:
    """All routes of the API."""
    modules = (status, config, nodes, tokens, pipelines, devices, cameras, blobs, sink)
    return [route for module in modules for route in module.ROUTES]

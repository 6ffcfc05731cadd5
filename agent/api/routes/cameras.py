"""Cameras of this node."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from starlette.requests import Request

from agent.api.facade import AgentFacade, Json
from agent.api.web import body, get, post

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Box = tuple[Share, Share, Share, Share]


class Add(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A camera for the book; boxes are [x, y, w, h] in 0..1."""

    name: str
    source: str
    rotate: Literal[0, 90, 180, 270] = 0
    crop: Box | None = None
    masks: list[Box] = []
    warm: bool = False
    insecure: bool = False


async def cameras(agent: AgentFacade, request: Request) -> list[Json]:
    """GET /v1/cameras."""
    return await agent.camera_list()


async def add(agent: AgentFacade, request: Request) -> Json:
    """POST /v1/cameras."""
    options = msgspec.to_builtins(await body(request, Add))
    return await agent.camera_add(options.pop("name"), options.pop("source"), options)


async def remove(agent: AgentFacade, request: Request) -> Json:
    """DELETE /v1/cameras/{name}."""
    return await agent.camera_remove(request.path_params["name"])


async def test(agent: AgentFacade, request: Request) -> Json:
    """POST /v1/cameras/{name}/test."""
    return await agent.camera_test(request.path_params["name"])


ROUTES = [
    get("/v1/cameras", cameras),
    post("/v1/cameras", add),
    post("/v1/cameras/{name}", remove, method="DELETE"),
    post("/v1/cameras/{name}/test", test),
]

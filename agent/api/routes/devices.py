"""Devices on the Wi-Fi."""

from __future__ import annotations

import msgspec
from starlette.requests import Request

from agent.api.facade import AgentFacade, Json
from agent.api.web import body, get, post


class Update(msgspec.Struct, forbid_unknown_fields=True):
    """What to change; null leaves it."""

    name: str | None = None
    known: bool | None = None


async def devices(agent: AgentFacade, request: Request) -> list[Json]:
    """GET /v1/devices."""
    return await agent.device_list()


async def update(agent: AgentFacade, request: Request) -> Json:
    """POST /v1/devices/{id}."""
    u = await body(request, Update)
    return await agent.device_update(request.path_params["id"], name=u.name, known=u.known)


async def forget(agent: AgentFacade, request: Request) -> Json:
    """DELETE /v1/devices/{id}."""
    return await agent.device_forget(request.path_params["id"])


ROUTES = [
    get("/v1/devices", devices),
    post("/v1/devices/{id}", update),
    post("/v1/devices/{id}", forget, method="DELETE"),
]

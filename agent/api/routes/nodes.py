"""Nodes, and those that wait for approval."""

from __future__ import annotations

import msgspec
from starlette.requests import Request

from agent.api.facade import AgentFacade, Json
from agent.api.web import body, get, post, query


class Approve(msgspec.Struct, forbid_unknown_fields=True):
    """`labels` null: those that it asked for."""

    labels: dict[str, str] | None = None


class Rename(msgspec.Struct, forbid_unknown_fields=True):
    """A new friendly name."""

    name: str


class Label(msgspec.Struct, forbid_unknown_fields=True):
    """Labels to set and keys to drop."""

    add: dict[str, str] = {}
    drop: list[str] = []


async def nodes(agent: AgentFacade, request: Request) -> list[Json]:
    """GET /v1/nodes?where."""
    return await agent.nodes(query(request, "where", most=1024))


async def describe(agent: AgentFacade, request: Request) -> Json:
    """GET /v1/nodes/{node}."""
    return await agent.node_describe(request.path_params["node"])


async def pending(agent: AgentFacade, request: Request) -> list[Json]:
    """GET /v1/pending."""
    return await agent.node_pending()


async def approve(agent: AgentFacade, request: Request) -> Json:
    """POST /v1/pending/{code}."""
    return await agent.node_approve(request.path_params["code"], (await body(request, Approve)).labels)


async def rename(agent: AgentFacade, request: Request) -> Json:
    """POST /v1/nodes/{node}/rename."""
    return await agent.node_rename(request.path_params["node"], (await body(request, Rename)).name)


async def label(agent: AgentFacade, request: Request) -> Json:
    """POST /v1/nodes/{node}/labels."""
    wanted = await body(request, Label)
    return await agent.node_label(request.path_params["node"], wanted.add, wanted.drop)


async def remove(agent: AgentFacade, request: Request) -> Json:
    """DELETE /v1/nodes/{node}."""
    return await agent.node_remove(request.path_params["node"])


ROUTES = [
    get("/v1/nodes", nodes),
    get("/v1/nodes/{node}", describe),
    get("/v1/pending", pending),
    post("/v1/pending/{code}", approve),
    post("/v1/nodes/{node}/rename", rename),
    post("/v1/nodes/{node}/labels", label),
    post("/v1/nodes/{node}", remove, method="DELETE"),
]

"""Join tokens."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from starlette.requests import Request

from agent.api.facade import AgentFacade, Json
from agent.api.web import body, get, post


class Create(msgspec.Struct, forbid_unknown_fields=True):
    """What the token allows; `ttl` in seconds."""

    ttl: Annotated[float, msgspec.Meta(gt=0, le=366 * 86400)] = 3600.0
    uses: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    role: Literal["member", "operator"] = "member"
    labels: dict[str, str] = {}


async def create(agent: AgentFacade, request: Request) -> Json:
    """POST /v1/tokens."""
    t = await body(request, Create)
    return await agent.token_create(ttl=t.ttl, uses=t.uses, role=t.role, labels=t.labels)


async def tokens(agent: AgentFacade, request: Request) -> list[Json]:
    """GET /v1/tokens."""
    return await agent.token_list()


async def revoke(agent: AgentFacade, request: Request) -> Json:
    """DELETE /v1/tokens/{id}."""
    return await agent.token_revoke(request.path_params["id"])


ROUTES = [
    get("/v1/tokens", tokens),
    post("/v1/tokens", create),
    post("/v1/tokens/{id}", revoke, method="DELETE"),
]

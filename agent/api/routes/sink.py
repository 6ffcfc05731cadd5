"""The sink and the egress ledger."""

from __future__ import annotations

import msgspec
from starlette.requests import Request

from agent.api.facade import AgentFacade, Json
from agent.api.web import body, get, post, query_number


class Connect(msgspec.Struct, forbid_unknown_fields=True):
    """The sink's address with its pin, the key, and the broker's password for MQTT (neither is ever logged)."""

    url: str
    key: str
    password: str = ""


async def connect(agent: AgentFacade, request: Request) -> Json:
    """POST /v1/sink."""
    c = await body(request, Connect)
    return await agent.sink_connect(c.url, c.key, password=c.password)


async def status(agent: AgentFacade, request: Request) -> Json:
    """GET /v1/sink."""
    return await agent.sink_status()


async def egress(agent: AgentFacade, request: Request) -> Json:
    """GET /v1/egress?since&limit."""
    since = query_number(request, "since", 86400, least=0, most=10 * 366 * 86400)
    limit = int(query_number(request, "limit", 100, least=0, most=100_000))
    return await agent.egress(since_s=since, limit=limit)


ROUTES = [get("/v1/sink", status), post("/v1/sink", connect), get("/v1/egress", egress)]

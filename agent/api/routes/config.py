"""The configuration in force."""

from __future__ import annotations

from starlette.requests import Request

from agent.api.facade import AgentFacade, Json
from agent.api.web import get
from agent.config import show_config


async def config(agent: AgentFacade, request: Request) -> list[Json]:
    """GET /v1/config: every key with value and origin."""
    return show_config(agent.config)


ROUTES = [get("/v1/config", config)]

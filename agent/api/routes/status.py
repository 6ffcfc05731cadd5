"""The state of the agent, events, traces and logs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response

from agent.api.facade import AgentFacade, Json
from agent.api.web import get, lines, query, query_flag, query_number


async def status(agent: AgentFacade, request: Request) -> Json | Response:
    """GET /v1/status; with `watch=SECONDS` a stream of it."""
    every = query_number(request, "watch", 0, least=0, most=3600)
    return await lines(request, _watch(agent, max(every, 0.5))) if every else await agent.status()


async def _watch(agent: AgentFacade, every: float) -> AsyncIterator[Json]:
    while True:
        yield await agent.status()
        await asyncio.sleep(every)


async def events(agent: AgentFacade, request: Request) -> Response:
    """GET /v1/events?follow&limit&type&pipeline."""
    limit = int(query_number(request, "limit", 20, least=0, most=10_000))
    kind, pipeline = query(request, "type"), query(request, "pipeline")
    rows = agent.events(follow=query_flag(request, "follow"), limit=limit, kind=kind, pipeline=pipeline)
    return await lines(request, rows)


async def trace(agent: AgentFacade, request: Request) -> Json:
    """GET /v1/trace/{id}."""
    return await agent.trace(request.path_params["id"][:256])


async def logs(agent: AgentFacade, request: Request) -> Response:
    """GET /v1/logs/{pipeline}?step&node&follow&lines."""
    rows = agent.logs(
        pipeline=request.path_params["pipeline"],
        step=query(request, "step"),
        node=query(request, "node"),
        follow=query_flag(request, "follow"),
        lines=int(query_number(request, "lines", 100, least=0, most=10_000)),
    )
    return await lines(request, rows)


async def checks(agent: AgentFacade, request: Request) -> list[Json]:
    """GET /v1/checks."""
    return await agent.checks()


ROUTES = [
    get("/v1/status", status),
    get("/v1/events", events),
    get("/v1/trace/{id}", trace),
    get("/v1/logs/{pipeline}", logs),
    get("/v1/checks", checks),
]

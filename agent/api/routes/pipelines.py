"""Pipelines. A file travels as msgpack with the modules that it names, so that the agent need not read
your folders."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from starlette.requests import Request

from agent.api.facade import AgentFacade, Json
from agent.api.web import MAX_FILES, body, get, post


class Source(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A pipeline file: its text, its name for messages, and the files that it names."""

    text: str
    file: str = "pipeline.yaml"
    files: dict[str, bytes] = {}
    dry_run: bool = False


class Test(Source, forbid_unknown_fields=True, kw_only=True):
    """A step to try, and the events for it."""

    step: str
    events: list[dict[str, Any]] = []


class Pause(msgspec.Struct, forbid_unknown_fields=True):
    """How long, in seconds; 0: until resumed."""

    seconds: Annotated[float, msgspec.Meta(ge=0, le=366 * 86400)] = 0.0


class Rollback(msgspec.Struct, forbid_unknown_fields=True):
    """The version to return to; empty: the one before."""

    version: str = ""


class Trigger(msgspec.Struct, forbid_unknown_fields=True):
    """An event for a step."""

    step: str = ""
    type: str = "edge.trigger"
    data: dict[str, Any] = {}


async def files(agent: AgentFacade, request: Request) -> list[str]:
    """POST /v1/pipeline-files: the paths that a pipeline file names."""
    source = await body(request, Source, limit=MAX_FILES)
    return await agent.pipeline_files(source.text, source.file)


async def apply(agent: AgentFacade, request: Request) -> Json:
    """POST /v1/pipelines."""
    s = await body(request, Source, limit=MAX_FILES)
    return await agent.pipeline_apply(s.text, s.file, s.files, dry_run=s.dry_run)


async def diff(agent: AgentFacade, request: Request) -> Json:
    """POST /v1/pipeline-diff."""
    s = await body(request, Source, limit=MAX_FILES)
    return await agent.pipeline_diff(s.text, s.file, s.files)


async def test(agent: AgentFacade, request: Request) -> list[Json]:
    """POST /v1/pipeline-test."""
    t = await body(request, Test, limit=MAX_FILES)
    return await agent.pipeline_test(t.text, t.file, t.files, t.step, t.events)


async def schema(agent: AgentFacade, request: Request) -> Json:
    """GET /v1/pipeline-schema."""
    return await agent.pipeline_schema()


async def pipelines(agent: AgentFacade, request: Request) -> list[Json]:
    """GET /v1/pipelines."""
    return await agent.pipeline_list()


async def describe(agent: AgentFacade, request: Request) -> Json:
    """GET /v1/pipelines/{name}."""
    return await agent.pipeline_describe(request.path_params["name"])


async def history(agent: AgentFacade, request: Request) -> list[Json]:
    """GET /v1/pipelines/{name}/history."""
    return await agent.pipeline_history(request.path_params["name"])


async def rollback(agent: AgentFacade, request: Request) -> Json:
    """POST /v1/pipelines/{name}/rollback."""
    return await agent.pipeline_rollback(request.path_params["name"], (await body(request, Rollback)).version)


async def pause(agent: AgentFacade, request: Request) -> Json:
    """POST /v1/pipelines/{name}/pause."""
    return await agent.pipeline_pause(request.path_params["name"], (await body(request, Pause)).seconds)


async def resume(agent: AgentFacade, request: Request) -> Json:
    """POST /v1/pipelines/{name}/resume."""
    return await agent.pipeline_resume(request.path_params["name"])


async def trigger(agent: AgentFacade, request: Request) -> Json:
    """POST /v1/pipelines/{name}/trigger."""
    t = await body(request, Trigger)
    return await agent.pipeline_trigger(request.path_params["name"], t.step, t.type, t.data)


async def remove(agent: AgentFacade, request: Request) -> Json:
    """DELETE /v1/pipelines/{name}."""
    return await agent.pipeline_remove(request.path_params["name"])


ROUTES = [
    get("/v1/pipelines", pipelines),
    get("/v1/pipelines/{name}", describe),
    get("/v1/pipelines/{name}/history", history),
    get("/v1/pipeline-schema", schema),
    post("/v1/pipeline-files", files, changes=False),
    post("/v1/pipeline-diff", diff, changes=False),
    post("/v1/pipeline-test", test),
    post("/v1/pipelines", apply),
    post("/v1/pipelines/{name}/rollback", rollback),
    post("/v1/pipelines/{name}/pause", pause),
    post("/v1/pipelines/{name}/resume", resume),
    post("/v1/pipelines/{name}/trigger", trigger),
    post("/v1/pipelines/{name}", remove, method="DELETE"),
]

"""The table of routes: the application, the OpenAPI document and docs/api.md are made from it."""

from __future__ import annotations

from functools import partial
from typing import Any

from agent.api import results
from agent.api.openapi import document
from agent.api.resources import (
    Blobs,
    Cameras,
    Configuration,
    Devices,
    Events,
    Images,
    Logs,
    Network,
    Nodes,
    Pipelines,
    Sink,
    Sources,
    Status,
    Tokens,
    Upgrades,
)
from agent.api.route import Route, route
from agent.api.transfer import download, upload

MAX_FILES = 64 << 20
"""Largest pipeline in bytes with the modules that it names."""

get, post, delete = partial(route, "GET"), partial(route, "POST"), partial(route, "DELETE")


async def _openapi(_: object) -> dict[str, Any]:
    return document(ROUTES)


ROUTES = (
    get("/v1/status", Status.answer, "everything at a glance"),
    get("/v1/events", Events.passing, "events"),
    get("/v1/trace/{id}", Events.trace, "the path of an alert or event, hop by hop"),
    get("/v1/logs/{pipeline}", Logs.lines, "log lines: up to 2000 of the newest, with `follow` also new lines"),
    get("/v1/checks", Status.checks, "what `doctor` asks the agent"),
    get("/v1/netcheck", Network.check, "ports, mDNS, clocks, MTU and relays; takes some seconds"),
    get("/v1/config", Configuration.all, "every key with value and origin"),
    Route("GET", "/v1/openapi.json", _openapi, "the OpenAPI document of this API", dict[str, Any]),
    # -- nodes and tokens
    get("/v1/nodes", Nodes.matching, "nodes"),
    get("/v1/nodes/{node}", Nodes.describe, "one node"),
    get("/v1/nodes/{node}/ping", Network.ping, "one round trip to it"),
    post("/v1/nodes/{node}/rename", Nodes.rename, "give it another name"),
    post("/v1/nodes/{node}/labels", Nodes.label, "set and drop labels"),
    delete("/v1/nodes/{node}", Nodes.remove, "remove it for good"),
    get("/v1/pending", Nodes.pending, "nodes and labels that wait for an operator"),
    post("/v1/pending/{code}", Nodes.approve, "let it in, or sign the labels"),
    get("/v1/tokens", Tokens.all, "tokens without their secrets"),
    post("/v1/tokens", Tokens.create, "make a token"),
    delete("/v1/tokens/{id}", Tokens.revoke, "take it back"),
    # -- releases
    get("/v1/release", Upgrades.release, "the release that this operator hands out, and the nodes' versions"),
    post("/v1/nodes/{node}/upgrade", Upgrades.begin, "begin to upgrade it; one node at a time"),
    get("/v1/nodes/{node}/upgrade", Upgrades.state, "how far its upgrade is"),
    # -- pipelines
    get("/v1/pipelines", Pipelines.all, "pipelines"),
    get("/v1/pipelines/{name}", Pipelines.describe, "one pipeline"),
    get("/v1/pipelines/{name}/history", Pipelines.history, "its versions, newest first"),
    get("/v1/pipeline-schema", Pipelines.schema, "JSON Schema of a pipeline file"),
    post("/v1/pipeline-files", Pipelines.files, "the paths that a pipeline file names", limit=MAX_FILES, reads=True),
    post("/v1/pipeline-diff", Pipelines.diff, "compare a file with what is applied", limit=MAX_FILES, reads=True),
    post("/v1/pipeline-test", Pipelines.test, "run one step of a file on events", limit=MAX_FILES),
    post("/v1/pipelines", Pipelines.apply, "apply a file", limit=MAX_FILES),
    post("/v1/pipelines/{name}/rollback", Pipelines.rollback, "apply an earlier version again"),
    post("/v1/pipelines/{name}/pause", Pipelines.pause, "take no new events for a while"),
    post("/v1/pipelines/{name}/resume", Pipelines.resume, "go on"),
    post("/v1/pipelines/{name}/trigger", Pipelines.trigger, "put an event into a step"),
    delete("/v1/pipelines/{name}", Pipelines.remove, "remove it"),
    get("/v1/images", Images.all, "images of the applied pipelines, and which node has them"),
    # -- devices, sources, cameras, blobs, the sink
    get("/v1/devices", Devices.all, "devices"),
    post("/v1/devices/{id}", Devices.update, "name it, say whether it is known"),
    delete("/v1/devices/{id}", Devices.forget, "forget it"),
    post("/v1/devices/{id}/merge", Devices.merge, "make another address one of its addresses, or undo that"),
    get("/v1/learning", Devices.learning, "presence steps that learn"),
    post("/v1/learning", Devices.stop_learning, "end it: unknown devices arrive from now on"),
    get("/v1/sources", Sources.all, "logs, and the devices that send them"),
    post("/v1/senders", Sources.decide, "read or ignore the logs of a network"),
    get("/v1/source-certificate", Sources.certificate, "the certificate that receivers with TLS show"),
    get("/v1/cameras", Cameras.all, "cameras of this node, and devices that could be added"),
    post("/v1/cameras", Cameras.add, "add a camera to this node"),
    delete("/v1/cameras/{name}", Cameras.remove, "remove it"),
    post("/v1/cameras/{name}/test", Cameras.test, "take a photo"),
    get("/v1/blobs", Blobs.all, "blobs of this node"),
    Route("GET", "/v1/blobs/{cid}", download, "the bytes of a blob", bytes, raw=True),
    Route("POST", "/v1/blobs", upload, "store the body's bytes", results.StoredBlob, bytes, raw=True),
    get("/v1/sink", Sink.status, "the uplink"),
    post("/v1/sink", Sink.connect, "connect this node to a sink"),
    delete("/v1/sink", Sink.disconnect, "forget the sink of this node"),
    get("/v1/egress", Sink.egress, "the ledger of what left the building"),
)
"""Every route, in the order of docs/api.md."""

"""The table of routes: the application, the OpenAPI document and docs/api.md are made from it."""

from __future__ import annotations

from typing import Any

import msgspec

from agent.api import requests, results
from agent.api.openapi import document
from agent.api.requests import Nothing
from agent.api.resources import Resources
from agent.api.route import Route
from agent.api.transfer import download, upload

MAX_FILES = 64 << 20
"""Largest pipeline in bytes with the modules that it names."""


async def _add_camera(resources: Resources, _: str, asked: requests.AddCamera) -> results.Camera:
    options = msgspec.to_builtins(asked)
    return await resources.cameras.add(options.pop("name"), options.pop("source"), **options)


async def _openapi() -> dict[str, Any]:
    return document(ROUTES)


ROUTES = (
    Route("GET", "/v1/status", requests.StatusQuery, results.Status, "everything at a glance",
          call=lambda r, _, q: r.status.show(), rows=lambda r, _, q: r.status.watch(q.watch) if q.watch else None),
    Route("GET", "/v1/events", requests.EventsQuery, results.EventRow, "events",
          rows=lambda r, _, q: r.events.passing(follow=q.follow, limit=q.limit, kind=q.type, pipeline=q.pipeline)),
    Route("GET", "/v1/trace/{id}", Nothing, results.Trace, "the way of an alert or event, hop by hop",
          call=lambda r, ident, _: r.events.trace(ident[:256])),
    Route("GET", "/v1/logs/{pipeline}", requests.LogsQuery, results.LogRow, "log lines",
          rows=lambda r, name, q: r.events.logs(pipeline=name, step=q.step, node=q.node, follow=q.follow, lines=q.lines)),
    Route("GET", "/v1/checks", Nothing, list[results.Check], "what `doctor` asks the agent",
          call=lambda r, *_: r.status.checks()),
    Route("GET", "/v1/config", Nothing, list[results.ConfigValue], "every key with value and origin",
          call=lambda r, *_: r.config.all()),
    Route("GET", "/v1/openapi.json", Nothing, dict[str, Any], "the OpenAPI document of this API",
          call=lambda *_: _openapi()),
    # -- nodes and tokens
    Route("GET", "/v1/nodes", requests.NodesQuery, list[results.ListedNode], "nodes",
          call=lambda r, _, q: r.nodes.matching(q.where)),
    Route("GET", "/v1/nodes/{node}", Nothing, results.DescribedNode, "one node",
          call=lambda r, node, _: r.nodes.describe(node)),
    Route("POST", "/v1/nodes/{node}/rename", requests.Rename, results.RenamedNode, "give it another name",
          call=lambda r, node, q: r.nodes.rename(node, q.name)),
    Route("POST", "/v1/nodes/{node}/labels", requests.Label, results.LabelledNode, "set and drop labels",
          call=lambda r, node, q: r.nodes.label(node, q.add, q.drop)),
    Route("DELETE", "/v1/nodes/{node}", Nothing, results.RemovedNode, "remove it for good",
          call=lambda r, node, _: r.nodes.remove(node)),
    Route("GET", "/v1/pending", Nothing, list[results.Pending], "nodes and labels that wait for an operator",
          call=lambda r, *_: r.nodes.pending()),
    Route("POST", "/v1/pending/{code}", requests.Approve, results.LabelledNode, "let it in, or sign the labels",
          call=lambda r, code, q: r.nodes.approve(code, q.labels)),
    Route("GET", "/v1/tokens", Nothing, list[results.ListedToken], "tokens without their secrets",
          call=lambda r, *_: r.tokens.all()),
    Route("POST", "/v1/tokens", requests.CreateToken, results.NewToken, "make a token",
          call=lambda r, _, q: r.tokens.create(ttl=q.ttl, uses=q.uses, role=q.role, labels=q.labels)),
    Route("DELETE", "/v1/tokens/{id}", Nothing, results.Id, "take it back",
          call=lambda r, ident, _: r.tokens.revoke(ident)),
    # -- pipelines
    Route("GET", "/v1/pipelines", Nothing, list[results.ListedPipeline], "pipelines",
          call=lambda r, *_: r.pipelines.all()),
    Route("GET", "/v1/pipelines/{name}", Nothing, results.DescribedPipeline, "one pipeline",
          call=lambda r, name, _: r.pipelines.describe(name)),
    Route("GET", "/v1/pipelines/{name}/history", Nothing, list[results.PipelineVersion], "its versions, newest first",
          call=lambda r, name, _: r.pipelines.history(name)),
    Route("GET", "/v1/pipeline-schema", Nothing, dict[str, Any], "JSON Schema of a pipeline file",
          call=lambda r, *_: r.pipelines.schema()),
    Route("POST", "/v1/pipeline-files", requests.Source, list[str], "the paths that a pipeline file names",
          call=lambda r, _, q: r.pipelines.files(q.text, q.file), limit=MAX_FILES, reads=True),
    Route("POST", "/v1/pipeline-diff", requests.Source, results.PipelineDiff, "compare a file with what is applied",
          call=lambda r, _, q: r.pipelines.diff(q.text, q.file, q.files), limit=MAX_FILES, reads=True),
    Route("POST", "/v1/pipeline-test", requests.TryStep, list[results.Tried], "run one step of a file on events",
          call=lambda r, _, q: r.pipelines.test(q.text, q.file, q.files, q.step, q.events), limit=MAX_FILES),
    Route("POST", "/v1/pipelines", requests.Source, results.AppliedPipeline, "apply a file",
          call=lambda r, _, q: r.pipelines.apply(q.text, q.file, q.files, dry_run=q.dry_run), limit=MAX_FILES),
    Route("POST", "/v1/pipelines/{name}/rollback", requests.Rollback, results.AppliedPipeline,
          "apply an earlier version again", call=lambda r, name, q: r.pipelines.rollback(name, q.version)),
    Route("POST", "/v1/pipelines/{name}/pause", requests.Pause, results.Paused, "take no new events for a while",
          call=lambda r, name, q: r.pipelines.pause(name, q.seconds)),
    Route("POST", "/v1/pipelines/{name}/resume", Nothing, results.Name, "go on",
          call=lambda r, name, _: r.pipelines.resume(name)),
    Route("POST", "/v1/pipelines/{name}/trigger", requests.Trigger, results.Triggered, "put an event into a step",
          call=lambda r, name, q: r.pipelines.trigger(name, q.step, q.type, q.data)),
    Route("DELETE", "/v1/pipelines/{name}", Nothing, results.RemovedPipeline, "remove it",
          call=lambda r, name, _: r.pipelines.remove(name)),
    # -- devices, cameras, blobs, the sink
    Route("GET", "/v1/devices", Nothing, list[results.Device], "devices", call=lambda r, *_: r.devices.all()),
    Route("POST", "/v1/devices/{id}", requests.UpdateDevice, results.Device, "name it, say whether it is known",
          call=lambda r, ident, q: r.devices.update(ident, name=q.name, known=q.known)),
    Route("DELETE", "/v1/devices/{id}", Nothing, results.Id, "forget it",
          call=lambda r, ident, _: r.devices.forget(ident)),
    Route("GET", "/v1/cameras", Nothing, list[results.Camera],
          "cameras of this node, and devices that could be added", call=lambda r, *_: r.cameras.all()),
    Route("POST", "/v1/cameras", requests.AddCamera, results.Camera, "add a camera to this node", call=_add_camera),
    Route("DELETE", "/v1/cameras/{name}", Nothing, results.Name, "remove it",
          call=lambda r, name, _: r.cameras.remove(name)),
    Route("POST", "/v1/cameras/{name}/test", Nothing, results.CameraTest, "take a photo",
          call=lambda r, name, _: r.cameras.test(name)),
    Route("GET", "/v1/blobs", Nothing, results.BlobList, "blobs of this node", call=lambda r, *_: r.blobs.all()),
    Route("GET", "/v1/blobs/{cid}", Nothing, bytes, "the bytes of a blob", raw=download),
    Route("POST", "/v1/blobs", bytes, results.StoredBlob, "store the body's bytes", raw=upload),
    Route("GET", "/v1/sink", Nothing, results.UplinkState, "the uplink", call=lambda r, *_: r.sink.status()),
    Route("POST", "/v1/sink", requests.ConnectSink, results.ConnectedSink, "connect this node to a sink",
          call=lambda r, _, q: r.sink.connect(q.url, q.key, password=q.password)),
    Route("GET", "/v1/egress", requests.EgressQuery, results.Egress, "the ledger of what left the building",
          call=lambda r, _, q: r.sink.egress(since_s=q.since, limit=q.limit)),
)  # fmt: skip
"""Every route, in the order of docs/api.md."""

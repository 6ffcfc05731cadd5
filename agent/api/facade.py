"""What the local API asks of the agent: one Protocol, implemented by the service.

All methods run on the agent's loop, return plain JSON-able dicts (a key that may be missing is marked `?`)
and raise EdgeError. `node` in a dict is always a node's friendly name, `id` a node's or event's id, `…_s`
seconds, `…_ms` milliseconds, sizes are bytes, times RFC 3339 UTC. Verbs that sign or change something are
guarded by the API (peer uid root or the operators' group): the facade need not check the caller.

The service does not import this house (arrows point down): `agent serve` hands `agent.api.serve_api` to
`run_agent(config, join=…, new=…, out=…, api=serve_api)`, which runs `api(agent)` beside its other services
until it is cancelled.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from agent.config import Config

Json = dict[str, Any]


class StatusFacade(Protocol):
    """The state of this agent and what passed through it."""

    @property
    def config(self) -> Config:
        """The configuration in force; gives the socket's path, groups and scratch folder."""
        ...

    async def status(self) -> Json:
        """Everything that `status` shows. Must be cheap (it is asked every 2 s by `--watch`): no I/O over
        the mesh.

        - `version`, `time`, `uptime_s`
        - `node`: {id, name, role (`operator`|`member`|`pending`), labels: {}, boot?, arch?, code? (of a
          pending node)}
        - `mesh`: {id, operators: count, pending: count of nodes that wait for approval, listen: "host:port",
          enrol: "host:port"}
        - `certificate`: {not_after, days_left}
        - `nodes`: [{id, name, role, self: bool, alive: bool, linked: bool, version, labels: {}, endpoints:
          [], seen_s?: seconds since the last record}] with this node first, then alive ones by name, then
          the absent ones
        - `cameras`: [{node, name, kind, ok, text?}] of all live nodes
        - `sources`: [{name, ok, unread: bytes rotated away unread, text?}] of this node
        - `pipelines`: [{name, version (short hash), paused_s?: seconds left, steps: [{step, kind (`tail`,
          `wasm`, `docker`, `camera`, `presence`, `sink`, …), where, after: [], here: bool, nodes: [names
          that match now], accepted, open, running, ends: {delivered, skipped, deduplicated, suppressed,
          failed, expired, lost}, run_ms?: mean of the last runs, error?: the last failure,
          failed_batches?: batches of lines that a filter never got through}]}]; the counts
          are this node's, and for each step accepted == sum(ends) + open
        - `journal`: {accepted, open, max_open, ends: {…as above}, unread}
        - `engines`: {wasm: "wasmtime 50.0.1" or "", docker: version or "", process: bool, gpu: bool}
        - `blobs`: {count, bytes, quota, pinned?}
        - `last_event`?: {id, type, time, node, pipeline, step, age_s}
        - `uplink`: {configured, connected, sink?, node?: the live node with uplink=true that has it,
          waiting: alerts in the spool, delivered: alerts since the start, last?: time of the last delivery,
          bytes_up: all that the ledger has, error?}
        - `warnings`: [{code, subject, text, remedy, severity (`error`|`warning`|`info`), node?}], worst first
        """
        ...

    def events(self, *, follow: bool, limit: int, kind: str, pipeline: str) -> AsyncIterator[Json]:
        """The newest `limit` events that this node knows, oldest first, then, with `follow`, new ones as
        they pass.

        Each is the CloudEvent's JSON plus `node` (where it was made). `kind` and `pipeline` filter when
        not empty. Ends by itself without `follow`; must drop the oldest for a slow reader (adding
        `missed`: count to the next).
        """
        ...

    async def trace(self, ident: str) -> Json:
        """The way of an alert (or any event) from its root; `ident` is an event id or an unambiguous
        beginning of one.

        {id, root, pipeline, type, time, complete: bool, total_ms, hops: [{step, node, at_ms: when it was
        done since the root, run_ms: how long it ran, event, type?, end?}] in order, from step `line` on,
        branches?: [{step, node, end, reason?, count}] of the root's other events, photos: [{name, cid,
        size}], bytes_up?: on the wire to the sink}. Raises NotFound.
        """
        ...

    def logs(self, *, pipeline: str, step: str, node: str, follow: bool, lines: int) -> AsyncIterator[Json]:
        """The last log lines (stderr) of a step's programs, then, with `follow`, new ones.

        Each {time, node, step, line, missed?: how many before it did not come, where the reader or the way
        was too slow}. `step` or `node` empty: all, nodes that join later included. Raises NotFound for an
        unknown pipeline or step.
        """
        ...

    async def checks(self) -> list[Json]:
        """What `doctor` can only learn inside the agent: [{check, state (`ok`|`warn`|`fail`), text,
        remedy}]."""
        ...


class NodeFacade(Protocol):
    """The nodes of the mesh and how they get in."""

    async def nodes(self, selector: str) -> list[Json]:
        """As `status()["nodes"]`, those whose labels match the selector (empty: all), each with `cameras`:
        [names]."""
        ...

    async def node_describe(self, node: str) -> Json:
        """One node by name or id: as in `nodes`, plus capacity: {cpus, memory, free, gpus}, certificate?:
        {not_after, days_left}, cameras: [{name, kind, ok}], steps: ["pipeline/step" that it matches].
        Raises NotFound."""
        ...

    async def node_pending(self) -> list[Json]:
        """What waits for an operator: [{code, kind (`join`|`labels`), node: name, id, address?, since: time,
        labels: {asked for}}]."""
        ...

    async def node_approve(self, code: str, labels: Mapping[str, str] | None) -> Json:
        """Let a pending node in (or confirm label changes); `labels` None: those that it asked for. {id,
        node, labels}."""
        ...

    async def node_rename(self, node: str, name: str) -> Json:
        """{id, node: the name it has now (`-2` is added when taken), was}."""
        ...

    async def node_label(self, node: str, add: Mapping[str, str], drop: Sequence[str]) -> Json:
        """Sign a node's labels. {id, node, labels: all of them now}."""
        ...

    async def node_remove(self, node: str) -> Json:
        """{id, node, confirmed: [names], unconfirmed: [names that have not answered yet]}."""
        ...

    async def token_create(self, *, ttl: float, uses: int, role: str, labels: Mapping[str, str]) -> Json:
        """{id, token: the secret text, expires: time, uses, role, labels, line: the exact command for the
        next device}."""
        ...

    async def token_list(self) -> list[Json]:
        """[{id, role, labels, expires, uses, left, created?}], never the secret."""
        ...

    async def token_revoke(self, ident: str) -> Json:
        """{id}. Raises NotFound."""
        ...


class PipelineFacade(Protocol):
    """Pipelines. `text` is the YAML, `file` its name for messages, `files` the contents of what
    `pipeline_files` named."""

    async def pipeline_files(self, text: str, file: str) -> list[str]:
        """The paths (as written) of the modules that the pipeline names. Raises PipelineError with line
        and hint."""
        ...

    async def pipeline_apply(self, text: str, file: str, files: Mapping[str, bytes], *, dry_run: bool) -> Json:
        """Check completely, resolve to CIDs and image ids, sign and publish (not with `dry_run`).

        {name, version, counter, changed: bool, overrode?: {version, counter, signer}, warnings: [text],
        steps: [{step, kind, where, nodes: [names that match now]}]}
        """
        ...

    async def pipeline_diff(self, text: str, file: str, files: Mapping[str, bytes]) -> Json:
        """{name, from, to, diff: unified diff of the resolved pipeline against the applied one, empty when
        equal}."""
        ...

    async def pipeline_list(self) -> list[Json]:
        """[{name, version, counter, signer: node name, applied: time, steps: count, paused_s?, open,
        alerts?}]."""
        ...

    async def pipeline_describe(self, name: str) -> Json:
        """As one of `status()["pipelines"]` plus counter, signer, applied, text: the YAML as applied."""
        ...

    async def pipeline_history(self, name: str) -> list[Json]:
        """Newest first: [{version, counter, signer, applied, current: bool}]."""
        ...

    async def pipeline_rollback(self, name: str, version: str) -> Json:
        """Apply an earlier version again; empty: the one before. Same dict as `pipeline_apply`."""
        ...

    async def pipeline_pause(self, name: str, seconds: float) -> Json:
        """{name, paused_s}; 0 seconds: until `resume`."""
        ...

    async def pipeline_resume(self, name: str) -> Json:
        """{name}."""
        ...

    async def pipeline_trigger(self, name: str, step: str, kind: str, data: Mapping[str, Any]) -> Json:
        """Put an event into a step as if its parent had made it; empty step: the first source's followers.

        {id, pipeline, step}.
        """
        ...

    async def pipeline_test(
        self, text: str, file: str, files: Mapping[str, bytes], step: str, events: Sequence[Mapping[str, Any]]
    ) -> list[Json]:
        """Run one step's `when` and program here on events, sending nothing on: [{id, end, reason?,
        events: [], ms}]."""
        ...

    async def pipeline_remove(self, name: str) -> Json:
        """{name, version: the removed one, counter}."""
        ...

    async def pipeline_schema(self) -> Json:
        """The JSON Schema of a pipeline file."""
        ...


class ThingsFacade(Protocol):
    """Devices, cameras, blobs, the sink and the egress ledger."""

    async def device_list(self) -> list[Json]:
        """[{id (MAC or its hash), name?, known: bool, private: bool, present: bool, node?: where last
        heard, first_seen, last_seen}], present ones first."""
        ...

    async def device_update(self, ident: str, *, name: str | None, known: bool | None) -> Json:
        """Name a device and say whether the house knows it; `ident` is an id, MAC or name. The device as
        in the list."""
        ...

    async def device_forget(self, ident: str) -> Json:
        """{id}. Raises NotFound."""
        ...

    async def camera_list(self) -> list[Json]:
        """This node's book and what is there: [{node, name, kind, source (credentials masked), ok, added:
        bool, text?}]."""
        ...

    async def camera_add(self, name: str, source: str, options: Mapping[str, Any]) -> Json:
        """Options: rotate (0|90|180|270), crop and masks ([[x, y, w, h] in 0..1]), warm and
        insecure (bools). The camera as in the list."""
        ...

    async def camera_remove(self, name: str) -> Json:
        """{name}. Raises NotFound."""
        ...

    async def camera_test(self, name: str) -> Json:
        """Take one photo: {name, ok, width, height, size, ms, jpeg: bytes}. Raises CameraError."""
        ...

    async def blob_add(self, fd: int, size: int) -> Json:
        """Store the open file's bytes: {cid, size}."""
        ...

    async def blob_path(self, cid: str) -> Path:
        """The blob's verified file, fetched from its holders when it is not here. Raises NotFound or
        BlobError."""
        ...

    async def blob_list(self) -> Json:
        """{count, bytes, quota, blobs: [{cid, size, pinned: bool, used: time?}]} of this node."""
        ...

    async def sink_connect(self, url: str, key: str, *, password: str = "") -> Json:
        """Test and store the sink on this node and label it uplink=true: {sink, node, connected}."""
        ...

    async def sink_status(self) -> Json:
        """As `status()["uplink"]`."""
        ...

    async def egress(self, *, since_s: float, limit: int) -> Json:
        """{rows: [{time, kind (`alert`|`status`|…), event?, up, down: bytes on the wire, sink}] newest
        first, total: {up, down, requests, alerts}} of the last `since_s` seconds (0: all); totals cover
        all rows, not just `limit`."""
        ...


class AgentFacade(StatusFacade, NodeFacade, PipelineFacade, ThingsFacade, Protocol):
    """The whole agent as the API sees it."""

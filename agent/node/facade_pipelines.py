"""What the API asks about pipelines: checking, applying, history, pausing, trying out."""

from __future__ import annotations

import difflib
import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec

from agent.definitions import json_schema, load_pipeline, passes
from agent.delivery import step_input
from agent.errors import ConfigError, NotFound, Refused, StepFailed
from agent.model.event import MAX_EVENT, Event, event_id, now
from agent.model.pipeline import Pipeline
from agent.model.placement import may_run
from agent.node.applied_documents import PIPELINE
from agent.node.facade_status import describe, known, no_nodes
from agent.node.resolve import Resolver, module_paths

if TYPE_CHECKING:
    from agent.mesh.documents import Document
    from agent.node.agent import Agent

log = logging.getLogger(__name__)

Json = dict[str, Any]
FOR_EVER = 100 * 365 * 86400.0


class PipelineMixin:
    """See `agent.api.facade.PipelineFacade` for what each dict holds."""

    async def pipeline_files(self, text: str, file: str) -> list[str]:
        """The modules that the file names."""
        return module_paths(load_pipeline(text, file=file))

    async def pipeline_apply(self, text: str, file: str, files: Mapping[str, bytes], *, dry_run: bool) -> Json:
        """Check, resolve, sign, publish."""
        a = cast("Agent", self)
        pipeline, notes = await Resolver(a).resolve(load_pipeline(text, file=file), files, keep=not dry_run)
        return await self._publish(pipeline, notes, dry_run=dry_run)

    async def _publish(self, pipeline: Pipeline, notes: list[str], *, dry_run: bool = False) -> Json:
        a = cast("Agent", self)
        old = a.mesh.documents.get(PIPELINE, pipeline.name)
        before = a.pipelines.definitions.current.get(pipeline.name)
        changed = before is None or before != pipeline
        document: Document | None = old
        if changed and not dry_run:
            document = await a.mesh.documents.put(PIPELINE, pipeline.name, msgspec.json.encode(pipeline))
        live = a.mesh.live()
        made: Json = {
            "name": pipeline.name,
            "version": pipeline.version,
            "counter": document.counter if document else 0,
            "changed": changed,
            "warnings": notes + no_nodes(a, pipeline),
            "steps": [
                {"step": s.name, "kind": s.kind, "where": s.where, "nodes": [n.name for n in live if may_run(pipeline, s, n.labels)]}
                for s in pipeline.steps
            ],
        }  # fmt: skip
        if changed and old is not None and before is not None:
            signer = a.record(old.signer)
            made["overrode"] = {
                "version": before.version, "counter": old.counter, "signer": signer.name if signer else old.signer,
            }  # fmt: skip
        return made

    async def pipeline_diff(self, text: str, file: str, files: Mapping[str, bytes]) -> Json:
        """How a file differs from what is applied."""
        a = cast("Agent", self)
        pipeline, _ = await Resolver(a).resolve(load_pipeline(text, file=file), files, keep=False)
        before = a.pipelines.definitions.current.get(pipeline.name)
        old = readable(before) if before else []
        lines = difflib.unified_diff(old, readable(pipeline), "applied", file, lineterm="")
        return {
            "name": pipeline.name,
            "from": before.version if before else "",
            "to": pipeline.version,
            "diff": "\n".join(lines),
        }

    async def pipeline_list(self) -> list[Json]:
        """The applied pipelines."""
        a = cast("Agent", self)
        made = []
        for p in a.pipelines.definitions.current.values():
            counts = a.pipelines.totals().get(p.name, {})
            row = {**self._signed(p.name), "name": p.name, "version": p.version, "steps": len(p.steps)}
            row["open"] = sum(c["open"] for c in counts.values())
            row["alerts"] = sum(counts.get(s.name, {}).get("delivered", 0) for s in p.steps if s.kind == "sink")
            if p.paused_until > time.time():
                row["paused_s"] = round(p.paused_until - time.time(), 1)
            made.append(row)
        return made

    def _signed(self, name: str) -> Json:
        a = cast("Agent", self)
        document = a.mesh.documents.get(PIPELINE, name)
        if document is None:
            return {"counter": 0, "signer": "", "applied": ""}
        signer = a.record(document.signer)
        history = a.pipelines.definitions.history(name)
        at = next((h["at"] for h in history if h["current"]), 0.0)
        return {"counter": document.counter, "signer": signer.name if signer else document.signer, "applied": iso(at)}

    async def pipeline_describe(self, name: str) -> Json:
        """One pipeline with its counts and its text."""
        a = cast("Agent", self)
        p = self._current(name)
        return {**describe(a, p), **self._signed(name), "text": p.text}

    async def pipeline_history(self, name: str) -> list[Json]:
        """Versions that this node has seen."""
        a = cast("Agent", self)
        found = a.pipelines.definitions.history(name)
        if not found:
            raise NotFound(f"there is no pipeline {name}", hint=known(a.pipelines.definitions.current))
        signed = self._signed(name)
        return [
            {"version": h["version"], "applied": iso(h["at"]), "current": h["current"],
             "counter": signed["counter"] if h["current"] else 0, "signer": signed["signer"] if h["current"] else ""}
            for h in found
        ]  # fmt: skip

    async def pipeline_rollback(self, name: str, version: str) -> Json:
        """Apply an earlier version again."""
        a = cast("Agent", self)
        history = a.pipelines.definitions.history(name)
        earlier = [h for h in history if (h["version"].startswith(version) if version else not h["current"])]
        if not earlier:
            raise NotFound(f"{name} has no version {version or 'before this one'}", hint="see pipeline history")
        found = a.pipelines.definitions.get(name, earlier[0]["version"])
        assert found is not None
        return await self._publish(msgspec.structs.replace(found, paused_until=0.0), [])

    async def pipeline_pause(self, name: str, seconds: float) -> Json:
        """Stop its sources everywhere for a while."""
        a = cast("Agent", self)
        until = time.time() + (seconds or FOR_EVER)
        paused = msgspec.structs.replace(self._current(name), paused_until=until)
        await a.mesh.documents.put(PIPELINE, name, msgspec.json.encode(paused))
        return {"name": name, "paused_s": seconds}

    async def pipeline_resume(self, name: str) -> Json:
        """Let its sources go on."""
        a = cast("Agent", self)
        resumed = msgspec.structs.replace(self._current(name), paused_until=0.0)
        await a.mesh.documents.put(PIPELINE, name, msgspec.json.encode(resumed))
        return {"name": name}

    async def pipeline_trigger(self, name: str, step: str, kind: str, data: Mapping[str, Any]) -> Json:
        """Put an event into a step as if its parent had made it here."""
        a = cast("Agent", self)
        p = self._current(name)
        parent = p.steps[0].name
        if step:
            wanted = p.step(step)
            if wanted is None or not wanted.after:
                raise NotFound(
                    f"{name} has no step {step} that takes events", hint=known(s.name for s in p.steps if s.after)
                )
            parent = wanted.after[0]
        maker = p.step(parent)
        assert maker is not None
        if not may_run(p, maker, a.mesh.me.labels):
            nodes = [n.name for n in a.mesh.live() if may_run(p, maker, n.labels)]
            raise Refused(
                f"{a.identity.name} may not make events of {parent}: others would refuse them",
                hint=f"run it on {', '.join(nodes) or 'a node whose labels match'}",
                code="not-allowed",
            )
        if len(msgspec.json.encode(data)) > MAX_EVENT // 2:
            raise ConfigError("the event's data is too large", hint=f"at most {MAX_EVENT // 2} bytes of JSON")
        ident = await a.pipelines.trigger(p, parent, kind or (maker.emit[0] if maker.emit else "manual"), dict(data))
        return {"id": ident, "pipeline": name, "step": step or parent}

    async def pipeline_test(
        self, text: str, file: str, files: Mapping[str, bytes], step: str, events: Sequence[Mapping[str, Any]]
    ) -> list[Json]:
        """Run one step's `when` and program here, sending nothing on."""
        a = cast("Agent", self)
        pipeline, _ = await Resolver(a).resolve(load_pipeline(text, file=file), files, keep=True)
        found = pipeline.step(step)
        if found is None or found.kind not in ("wasm", "docker", "process"):
            names = known(s.name for s in pipeline.steps if s.kind in ("wasm", "docker", "process"))
            raise NotFound(f"{pipeline.name} has no step {step} with a program", hint=names)
        runner = await a.pipelines.steps.programs.runner(found, f"test-{step}")
        await runner.start()
        made: list[Json] = []
        try:
            for raw in events:
                event = test_event(pipeline, found.after[0] if found.after else step, raw)
                made.append(await self._try(found.when, event, runner))
        finally:
            await runner.close()
        return made

    async def _try(self, when: str, event: Event, runner: Any) -> Json:
        a = cast("Agent", self)
        if not passes(when, event):
            return {"id": event.id, "end": "skipped", "reason": "when", "events": [], "ms": 0.0}
        start = time.perf_counter()
        lines: list[str] = []
        try:
            outputs = await runner.run(step_input(event, lambda cid: str(a.blobs.path(cid))), lines.append)
        except StepFailed as e:
            took = round((time.perf_counter() - start) * 1e3, 1)
            return {"id": event.id, "end": "failed", "reason": e.message, "events": [], "ms": took, "log": lines}
        took = round((time.perf_counter() - start) * 1e3, 1)
        return {"id": event.id, "end": "delivered", "events": msgspec.to_builtins(outputs), "ms": took, "log": lines}

    async def pipeline_remove(self, name: str) -> Json:
        """Take a pipeline out of force; what is in flight ends under it."""
        a = cast("Agent", self)
        version = self._current(name).version
        document = await a.mesh.documents.put(PIPELINE, name, b"", removed=True)
        return {"name": name, "version": version, "counter": document.counter}

    async def pipeline_schema(self) -> Json:
        """The JSON Schema of a pipeline file."""
        return json_schema()

    def _current(self, name: str) -> Pipeline:
        a = cast("Agent", self)
        found = a.pipelines.definitions.current.get(name)
        if found is None:
            raise NotFound(f"there is no pipeline {name}", hint=known(a.pipelines.definitions.current))
        return found


def readable(pipeline: Pipeline) -> list[str]:
    """A resolved pipeline as lines, for diffs."""
    shown = {"name": pipeline.name, "steps": pipeline.steps, "keep": pipeline.keep}
    return msgspec.json.format(msgspec.json.encode(shown), indent=2).decode().splitlines()


def test_event(pipeline: Pipeline, parent: str, raw: Mapping[str, Any]) -> Event:
    """An event for `pipeline test`: what is missing is filled in; raises ConfigError for a malformed one."""
    ident = event_id("test", now(), msgspec.json.encode(raw))
    filled = {
        "id": ident,
        "source": f"/test/{pipeline.name}/{parent}",
        "type": "test",
        "time": now(),
        "step": parent,
        **raw,
    }
    try:
        return msgspec.convert(filled, Event)
    except msgspec.ValidationError as e:
        raise ConfigError(f"not an event: {e}", hint='give at least {"type": …, "data": {…}}') from None


def iso(at: float) -> str:
    """RFC 3339 of a Unix time; empty for 0."""
    from agent.node.facade_nodes import when

    return when(at) if at else ""

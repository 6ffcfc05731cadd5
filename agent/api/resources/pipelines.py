"""Pipelines: checking, applying, comparing, history, pausing, trying out."""

from __future__ import annotations

import difflib
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from agent.api import results
from agent.api.requests import Pause, Rollback, Source, Trigger, TryStep
from agent.api.resolve import Resolver, module_paths
from agent.api.resources.common import ShownLog, known, name_of, when
from agent.blobs import BlobStore
from agent.definitions import advice, json_schema, load_pipeline, passes
from agent.delivery import ENDS, DeliveryEngine, step_input
from agent.errors import ConfigError, NotFound, Refused, StepFailed
from agent.mesh import Document, Mesh
from agent.model.documents import PIPELINE
from agent.model.event import MAX_EVENT, Event, event_id, now
from agent.model.node import NodeRecord
from agent.model.pipeline import Pipeline, Step
from agent.model.placement import may_run, steps_without_node
from agent.model.task import ProgramTask, Runner
from agent.steps import NodeSteps

FOR_EVER = 100 * 365 * 86400.0


class Pipelines:
    """The pipelines."""

    def __init__(
        self, mesh: Mesh, delivery: DeliveryEngine[NodeSteps], blobs: BlobStore, *, resolver: Resolver
    ) -> None:
        self._mesh, self._delivery, self._blobs, self._resolver = mesh, delivery, blobs, resolver
        self._definitions = delivery.definitions

    # -- as they run --------------------------------------------------------------------------------------------------

    def states(self) -> list[results.PipelineState]:
        """The applied pipelines with this node's counts."""
        totals = self._delivery.totals()
        return [self._state(p, totals.get(p.name, {})) for p in self._definitions.current.values()]

    def _state(self, p: Pipeline, totals: Mapping[str, Mapping[str, int]]) -> results.PipelineState:
        live = self._mesh.live()
        steps = []
        for s in p.steps:
            nodes = [n.name for n in live if may_run(p, s, n.labels)]
            steps.append(self._step(p, s, nodes, totals.get(s.name, {})))
        return results.PipelineState(p.name, p.version, steps, paused_for(p), self._learning(p))

    def _learning(self, p: Pipeline) -> float:
        learning = self._delivery.steps.parts.devices.learning
        return round(max((left for _, left in learning.steps_of(p)), default=0.0), 1)

    def _step(self, p: Pipeline, s: Step, nodes: list[str], counts: Mapping[str, int]) -> results.StepState:
        host = self._delivery.hosts.now(p.name, s.name)
        counted = self._delivery.journal.counts.get((p.name, s.name))
        return results.StepState(
            step=s.name,
            kind=s.kind,
            where=s.where,
            after=s.after,
            here=self._mesh.me.name in nodes,
            nodes=nodes,
            accepted=counts.get("accepted", 0),
            open=counts.get("open", 0),
            ends=results.Ends(**{end: counts.get(end, 0) for end in ENDS}),
            running=host.running,
            run_ms=host.run_ms,
            error=host.error,
            failed_batches=counted["failed_batches"] if counted else 0,
            state=host.state,
            hint=host.hint,
            queued=host.queued,
            lag_s=host.lag_s,
        )

    async def all(self) -> list[results.ListedPipeline]:
        """The applied pipelines in short."""
        totals, kinds = self._delivery.totals(), self._definitions.kinds
        made = []
        for p in self._definitions.current.values():
            counts = totals.get(p.name, {})
            counter, signer, applied = self._signed(p.name)
            row = results.ListedPipeline(
                counter=counter,
                signer=signer,
                applied=applied,
                name=p.name,
                version=p.version,
                steps=len(p.steps),
                open=sum(c["open"] for c in counts.values()),
                alerts=sum(counts.get(s.name, {}).get("delivered", 0) for s in p.steps if kinds.of(s).is_alert),
                paused_s=paused_for(p),
            )
            made.append(row)
        return made

    def _signed(self, name: str) -> tuple[int, str, str]:
        """The counter, the signer and the time of the pipeline that is in force."""
        document = self._mesh.documents.get(PIPELINE, name)
        if document is None:
            return 0, "", ""
        at = next((h["at"] for h in self._definitions.history(name) if h["current"]), 0.0)
        return document.counter, name_of(self._mesh, document.signer), when(at) if at else ""

    async def describe(self, name: str) -> results.DescribedPipeline:
        """One pipeline with its counts and its text; raises NotFound."""
        p = self._current(name)
        state = self._state(p, self._delivery.totals().get(name, {}))
        counter, signer, applied = self._signed(name)
        return results.DescribedPipeline(
            **msgspec.structs.asdict(state), counter=counter, signer=signer, applied=applied, text=p.text
        )

    def _current(self, name: str) -> Pipeline:
        found = self._definitions.current.get(name)
        if found is None:
            raise NotFound(f"there is no pipeline {name}", hint=known(self._definitions.current))
        return found

    # -- as they are written ------------------------------------------------------------------------------------------

    async def files(self, asked: Source) -> list[str]:
        """The paths (as written) of the modules that the file names; raises PipelineError with line and hint."""
        return module_paths(self._load(asked), self._definitions.kinds)

    def _load(self, asked: Source) -> Pipeline:
        return load_pipeline(asked.text, self._definitions.kinds, file=asked.file)

    async def apply(self, asked: Source) -> results.AppliedPipeline:
        """Check completely, resolve to CIDs and image ids, sign and publish; with `dry_run` sign nothing."""
        pipeline, notes = await self._resolved(asked, keep=not asked.dry_run)
        return await self._publish(pipeline, notes, dry_run=asked.dry_run)

    async def _resolved(self, asked: Source, *, keep: bool) -> tuple[Pipeline, list[str]]:
        return await self._resolver.resolve(self._load(asked), asked.files, keep=keep)

    async def _publish(self, pipeline: Pipeline, notes: list[str], *, dry_run: bool = False) -> results.AppliedPipeline:
        document = old = self._mesh.documents.get(PIPELINE, pipeline.name)
        before = self._definitions.current.get(pipeline.name)
        changed = before is None or before != pipeline
        if changed and not dry_run:
            document = await self._put(pipeline)
        overrode = None
        if changed and old is not None and before is not None:
            overrode = results.Overrode(before.version, old.counter, name_of(self._mesh, old.signer))
        live = self._mesh.live()
        return results.AppliedPipeline(
            name=pipeline.name,
            version=pipeline.version,
            counter=document.counter if document else 0,
            changed=changed,
            warnings=[
                *notes,
                *advice(pipeline),
                *steps_without_node(pipeline, live),
                *self._lacking(pipeline, live),
                *unused_keys(pipeline),
            ],
            steps=[
                results.AppliedStep(s.name, s.kind, s.where, [n.name for n in live if may_run(pipeline, s, n.labels)])
                for s in pipeline.steps
            ],
            overrode=overrode,
            learning_s=self._learning(pipeline),
        )

    def _lacking(self, pipeline: Pipeline, live: list[NodeRecord]) -> list[str]:
        """A line for each thing that a step names and no live node has that may run it."""
        kinds = self._definitions.kinds
        return [
            f"{pipeline.name}/{s.name}: {text}"
            for s in pipeline.steps
            if (nodes := [n for n in live if may_run(pipeline, s, n.labels)])
            for text in kinds.of(s).lacking(s, nodes)
        ]

    async def _put(self, pipeline: Pipeline) -> Document:
        return await self._mesh.documents.put(PIPELINE, pipeline.name, msgspec.json.encode(pipeline))

    async def diff(self, asked: Source) -> results.PipelineDiff:
        """The differences between a file and the applied version."""
        pipeline, _ = await self._resolved(asked, keep=False)
        before = self._definitions.current.get(pipeline.name)
        old = readable(before) if before else []
        lines = difflib.unified_diff(old, readable(pipeline), "applied", asked.file, lineterm="")
        return results.PipelineDiff(
            name=pipeline.name, before=before.version if before else "", to=pipeline.version, diff="\n".join(lines)
        )

    async def schema(self) -> dict[str, Any]:
        """The JSON Schema of a pipeline file."""
        return json_schema(self._definitions.kinds)

    # -- versions -----------------------------------------------------------------------------------------------------

    async def history(self, name: str) -> list[results.PipelineVersion]:
        """The versions that this node has seen, newest first; raises NotFound."""
        found = self._definitions.history(name)
        if not found:
            raise NotFound(f"there is no pipeline {name}", hint=known(self._definitions.current))
        return [
            results.PipelineVersion(
                version=h["version"],
                applied=when(h["at"]) if h["at"] else "",
                current=h["current"],
                counter=h["signed"][0],
                signer=name_of(self._mesh, h["signed"][1]) if h["signed"][1] else "",
            )
            for h in found
        ]

    async def rollback(self, name: str, asked: Rollback) -> results.AppliedPipeline:
        """Apply an earlier version again; empty: the one before. Raises NotFound."""
        version, history = asked.version, self._definitions.history(name)
        earlier = [h for h in history if (h["version"].startswith(version) if version else not h["current"])]
        if not earlier:
            raise NotFound(f"{name} has no version {version or 'before this one'}", hint="see pipeline history")
        found = self._definitions.get(name, earlier[0]["version"])
        assert found is not None
        return await self._publish(msgspec.structs.replace(found, paused_until=0.0), [])

    async def pause(self, name: str, asked: Pause) -> results.Paused:
        """Stop its sources on all nodes for so long; 0: until it is resumed."""
        until = time.time() + (asked.seconds or FOR_EVER)
        await self._put(msgspec.structs.replace(self._current(name), paused_until=until))
        return results.Paused(name, asked.seconds)

    async def resume(self, name: str) -> results.Name:
        """Resume its sources."""
        await self._put(msgspec.structs.replace(self._current(name), paused_until=0.0))
        return results.Name(name)

    async def remove(self, name: str) -> results.RemovedPipeline:
        """Remove a pipeline; events in flight end under it."""
        version = self._current(name).version
        document = await self._mesh.documents.put(PIPELINE, name, b"", removed=True)
        return results.RemovedPipeline(name, version, document.counter)

    # -- by hand ------------------------------------------------------------------------------------------------------

    async def trigger(self, name: str, asked: Trigger) -> results.Triggered:
        """Put an event into a step as if its parent had made it here; empty `step`: the followers of the first source."""
        p, step = self._current(name), asked.step
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
        if not may_run(p, maker, self._mesh.me.labels):
            nodes = [n.name for n in self._mesh.live() if may_run(p, maker, n.labels)]
            raise Refused(
                f"{self._mesh.me.name} may not make events of {parent}: other nodes would refuse them",
                hint=f"run it on {', '.join(nodes) or 'a node whose labels match'}",
                code="not-allowed",
            )
        if len(msgspec.json.encode(asked.data)) > MAX_EVENT // 2:
            raise ConfigError("the event's data is too large", hint=f"at most {MAX_EVENT // 2} bytes of JSON")
        kind = asked.type or (maker.emit[0] if maker.emit else "manual")
        ident = await self._delivery.trigger(p, parent, kind, asked.data)
        return results.Triggered(ident, name, step or parent)

    async def test(self, asked: TryStep) -> list[results.Tried]:
        """Run one step's `when` and program here on events, sending nothing on."""
        pipeline, _ = await self._resolved(asked, keep=True)
        step, found, kinds = asked.step, pipeline.step(asked.step), self._definitions.kinds
        if found is None or not kinds.of(found).is_program:
            names = known(s.name for s in pipeline.steps if kinds.of(s).is_program)
            raise NotFound(f"{pipeline.name} has no step {step} that is a program", hint=names)
        parent = found.after[0] if found.after else step
        log = ShownLog()
        task: ProgramTask = found.task_as(kinds.of(found).programs[""])
        runner = await self._delivery.steps.parts.programs.runner(task, f"test-{step}", log)
        try:
            await runner.start()
            return [await self._try(found.when, test_event(pipeline, parent, e), runner, log) for e in asked.events]
        finally:
            await runner.close()

    async def _try(self, condition: str, event: Event, runner: Runner, log: ShownLog) -> results.Tried:
        if not passes(condition, event):
            return results.Tried(event.id, "skipped", [], 0.0, [], "when")
        start = time.perf_counter()
        lines = log.lines = []
        end, reason, outputs = "delivered", "", []
        try:
            made = await runner.run(step_input(event, lambda cid: str(self._blobs.path(cid))))
            outputs = msgspec.to_builtins(made)
        except StepFailed as e:
            end, reason = "failed", e.message
        return results.Tried(event.id, end, outputs, round((time.perf_counter() - start) * 1e3, 1), lines, reason)


def paused_for(pipeline: Pipeline) -> float | None:
    """Seconds until a paused pipeline goes on; None for one that is not paused."""
    left = pipeline.paused_until - time.time()
    return round(left, 1) if left > 0 else None


def readable(pipeline: Pipeline) -> list[str]:
    """A resolved pipeline as lines, for diffs."""
    shown = {"name": pipeline.name, "steps": pipeline.steps, "keep": pipeline.keep}
    return msgspec.json.format(msgspec.json.encode(shown), indent=2).decode().splitlines()


def test_event(pipeline: Pipeline, parent: str, raw: Mapping[str, Any]) -> Event:
    """An event for `pipeline test` with defaults for missing fields; raises ConfigError for a malformed one."""
    filled = {
        "id": event_id("test", now(), msgspec.json.encode(raw)),
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


def unused_keys(pipeline: Pipeline) -> list[str]:
    """Notes about keys that no longer change anything."""
    steps = [s.name for s in pipeline.steps if s.kind == "presence" and "settle" in s.task]
    return [
        f"step {name}: settle is no longer used and can go; nothing has to settle after a restart" for name in steps
    ]

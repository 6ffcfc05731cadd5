"""A new kind of source is one file too; a source that cannot run stops no other and says why."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import jsonschema_rs
import msgspec
import pytest
from ruamel.yaml import YAML

from agent import steps
from agent.definitions import json_schema, load_pipeline
from agent.errors import PipelineError
from agent.model.step_kind import Kinds
from agent.node import Node, source_steps
from agent.sources import opening
from tests.node.site import Site
from tests.steps import ticker
from tests.support import eventually

KINDS = Kinds([*steps.KINDS.values(), *ticker.KINDS])
TEXT = """\
version: 1
name: p
steps:
  tock: {ticker: 20ms}
  seen: {after: tock, presence: {}, when: data.never}
"""


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path, KINDS)
    yield made
    await made.close()


def apply(node: Node, text: str) -> None:
    body = msgspec.json.encode(load_pipeline(text, KINDS))
    node.delivery.engine.definitions.apply("p", body)


def test_the_key_may_hold_the_setting_itself() -> None:
    step = load_pipeline(TEXT, KINDS).steps[0]
    assert (step.kind, step.pick, step.task_as(ticker.TickerTask).every) == ("ticker", "all", 0.02)
    valid = jsonschema_rs.validator_for(json_schema(KINDS)).is_valid
    assert valid(YAML(typ="safe", pure=True).load(TEXT))
    assert not valid(YAML(typ="safe", pure=True).load(TEXT.replace("20ms", "[20ms]")))
    with pytest.raises(PipelineError, match="ticker is too small"):
        load_pipeline(TEXT.replace("20ms", "1ms"), KINDS)
    with pytest.raises(PipelineError, match="a source has no when"):
        load_pipeline(TEXT.replace("ticker: 20ms", "ticker: 20ms, when: a"), KINDS)


async def test_its_sources_run_on_the_node(site: Site) -> None:
    hall = await site.start("hall", **{"policy.process": True})
    apply(hall, TEXT)
    await eventually(lambda: hall.delivery.engine.totals().get("p", {}).get("seen", {}).get("accepted", 0) > 2)
    shown = (await hall.api.status.show()).sources
    assert [(s.name, s.ok) for s in shown] == [("p/tock left", True), ("p/tock right", True)]


async def test_the_owner_s_policy_holds_for_sources(site: Site) -> None:
    hall = await site.start("hall")
    apply(hall, TEXT)
    await eventually(lambda: len(hall.delivery.sources.runners) == 2)
    shown = (await hall.api.status.show()).sources
    assert {(s.ok, "policy.process" in s.text) for s in shown} == {(False, True)}
    assert not any(isinstance(r, ticker.TickerRunner) for r in hall.delivery.sources.runners.values())


async def test_a_source_that_cannot_run_stops_no_other(site: Site) -> None:
    hall = await site.start("hall", **{"policy.process": True})
    more = "  broken: {ticker: 1s}\n  faulty: {ticker: 1s}\n  unnamed: {ticker: 1s}\n"
    apply(hall, TEXT + more)
    await eventually(lambda: hall.delivery.engine.totals().get("p", {}).get("seen", {}).get("accepted", 0) > 2)
    texts = {s.name.split()[0]: s.text for s in (await hall.api.status.show()).sources}
    assert texts == {
        "p/tock": "", "p/broken": "this node has no clock", "p/faulty": "internal: RuntimeError: a mistake in a kind",
        "p/unnamed": "internal: RuntimeError: a mistake in a kind",
    }  # fmt: skip


async def test_a_source_that_cannot_run_is_tried_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_steps, "AGAIN", 0.05)
    monkeypatch.setattr(source_steps, "LOOK", 0.05)
    found = [""]
    monkeypatch.setattr(opening, "system_log", lambda: found[0])
    hall = await site.start("hall")
    apply(hall, "version: 1\nname: p\nsteps: {log: {tail: auto, wasm: {module: m.wasm}}}\n")
    runners = hall.delivery.sources.runners
    await eventually(lambda: any("no known log" in r.problem for r in runners.values()))
    found[0] = "/nowhere/messages"
    await eventually(lambda: [r.name for r in runners.values()] == ["/nowhere/messages"])


def test_a_log_of_an_unknown_user_is_refused() -> None:
    text = "version: 1\nname: p\nsteps: {log: {tail: ~nosuch/log, wasm: {module: m.wasm}}}\n"
    with pytest.raises(PipelineError, match="'~nosuch/log' cannot be found"):
        load_pipeline(text, KINDS)

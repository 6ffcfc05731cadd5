"""A new kind of step is one file: it is loaded, checked, resolved, placed, refused by policy, run and traced like any other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, ClassVar

import jsonschema_rs
import msgspec
import pytest
from ruamel.yaml import YAML

from agent import steps
from agent.api.requests import Source, Trigger
from agent.definitions import decode_pipeline, json_schema, load_pipeline
from agent.delivery import Work
from agent.errors import PipelineError, Refused, StepFailed
from agent.executors import Policy
from agent.model.cid import is_cid
from agent.model.event import Event
from agent.model.keys import key
from agent.model.pipeline import Pipeline, Step
from agent.model.placement import rank
from agent.model.step_kind import Kinds
from agent.model.task import Task
from agent.steps import EventKind, Parts, every_kind
from tests.executors.wasm_programs import build
from tests.node.site import Site
from tests.steps import siren
from tests.support import eventually

KINDS = Kinds([*steps.KINDS.values(), *siren.KINDS])
TEXT = """\
version: 1
name: p
steps:
  wifi: {tail: auto, wasm: {module: check.wasm}}
  loud:
    after: wifi
    siren: {tone: high, seconds: 10, check: {module: check.wasm, args: [quiet], once: true}}
  after: {after: loud, wasm: {module: check.wasm, args: [quiet], once: true}}
"""


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path, KINDS)
    yield made
    await made.close()


def loaded(text: str = TEXT) -> Pipeline:
    return load_pipeline(text, KINDS)


def test_a_module_of_the_package_adds_its_kinds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "siren.py").write_text(Path(siren.__file__).read_text())
    monkeypatch.setattr(steps, "__path__", [*steps.__path__, str(tmp_path)])
    assert set(every_kind()) == {*steps.KINDS, "siren"}


def test_it_is_loaded_with_its_defaults() -> None:
    step = loaded().step("loud")
    assert step is not None
    assert (step.kind, step.where, step.pick, step.deadline) == ("siren", "node!=hall", "one", 120.0)
    check = siren.WasmTask(module="check.wasm", args=["quiet"], once=True)
    assert step.task_as(siren.SirenTask) == siren.SirenTask(tone="high", seconds=10.0, check=check)
    assert decode_pipeline(msgspec.json.encode(loaded()), KINDS) == loaded()


@pytest.mark.parametrize(
    ("old", "new", "place", "said"),
    [
        ("tone: high", "tone: shrill", (7, 13), "tone is low or high"),
        ("seconds: 10", "seconds: 2m", (7, 25), "a high tone for more than a minute"),
        ("seconds: 10", "second: 10", (7, 25), "siren has no key second"),
        (", args: [quiet]", ", mode: copy", (7, 66), "check has no key mode"),
        ("check: {module: check.wasm, args: [quiet], once: true}", "", (7, 12), "check is missing"),
        ("    siren:", "    camera: {}\n    siren:", (5, 3), "more than one thing to run: camera, siren"),
    ],
)
def test_its_settings_are_checked(old: str, new: str, place: tuple[int, int], said: str) -> None:
    with pytest.raises(PipelineError, match=said) as failure:
        loaded(TEXT.replace(old, new, 1))
    assert (failure.value.fields["line"], failure.value.fields["column"]) == place


def test_it_is_in_the_schema() -> None:
    valid = jsonschema_rs.validator_for(json_schema(KINDS)).is_valid
    assert valid(YAML(typ="safe", pure=True).load(TEXT))
    assert not valid(YAML(typ="safe", pure=True).load(TEXT.replace("high", "shrill")))
    assert not jsonschema_rs.validator_for(json_schema(steps.KINDS)).is_valid(YAML(typ="safe", pure=True).load(TEXT))


def test_an_agent_without_the_kind_refuses_the_pipeline() -> None:
    with pytest.raises(msgspec.ValidationError, match="'siren' is not a kind of step"):
        decode_pipeline(msgspec.json.encode(loaded()), steps.KINDS)


def test_policy_checks_the_step_and_its_program() -> None:
    task = KINDS.task_of(loaded().steps[1])
    for policy, code in ((Policy(), "policy.process"), (Policy(process=True, wasm=False), "policy.wasm")):
        with pytest.raises(Refused) as failure:
            policy.check(task)
        assert failure.value.code == code
    assert Policy(process=True).check(task) == task


@pytest.mark.parametrize("name", ["tail", "seconds"])
def test_two_kinds_do_not_share_a_key(name: str) -> None:
    other = siren.Siren()
    other.name = {"seconds": "attempts"}.get(name, name)
    with pytest.raises(ValueError, match="share a name"):
        Kinds([*steps.KINDS.values(), other])


async def test_it_runs_where_policy_allows_it_and_is_traced(site: Site) -> None:
    hall = await site.start("hall")
    attic = await site.start("attic")  # its owner allows no processes, so no siren
    porch = await site.start("porch", **{"policy.process": True})
    applied = await hall.api.pipelines.apply(Source(text=TEXT, files={"check.wasm": build("once").read_bytes()}))
    assert {s.step: s.nodes for s in applied.steps}["loud"] == ["attic", "porch"]
    definitions = [n.delivery.engine.definitions for n in (hall, attic, porch)]
    await eventually(lambda: all("p" in d.current for d in definitions))
    step = definitions[0].current["p"].step("loud")
    assert step is not None
    assert is_cid(step.task["check"]["module"])
    assert step.task["check"]["module"] in definitions[0].modules()

    nodes = [SimpleNamespace(id=n.mesh.me.id) for n in (attic, porch)]
    floor = next(f for f in range(99) if rank(str(f), nodes, weighed=False)[0].id == attic.mesh.me.id)  # type: ignore[arg-type]
    ident = (await hall.api.pipelines.trigger("p", Trigger("loud", "wifi.client.joined", {"floor": floor}))).id

    ended: set[tuple[str, str]] = set()
    async with asyncio.timeout(20):
        while not ended >= {("loud", "hall"), ("loud", "porch"), ("after", "porch")}:
            await asyncio.sleep(0.05)
            branches = (await hall.api.events.trace(ident)).branches
            ended = {(b.step, b.node) for b in branches if b.end == "delivered"}
    assert attic.delivery.engine.receiver.refused["policy"] >= 1
    rows = {r.step: r for r in porch.stores.journal.rows.values() if r.target == porch.mesh.me.id}
    assert rows["after"].event.type == "siren.sounded"
    assert {k: rows["after"].event.data[k] for k in ("floor", "tone", "node")} == {
        "floor": floor, "tone": "high", "node": "porch",
    }  # fmt: skip
    assert "loud" not in {
        step for _, _, step in attic.delivery.engine.hosts.conditions
    }  # it does not even try to start the step
    states = {s.step: s for s in porch.api.pipelines.states()[0].steps}
    assert (states["loud"].kind, states["loud"].state) == ("siren", "ready")


async def test_a_mistake_in_its_decider_key_ends_no_agent(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def mistake(event: Event) -> str:
        raise KeyError("floor")

    monkeypatch.setattr(KINDS["siren"], "decider_key", mistake)
    hall = await site.start("hall")
    porch = await site.start("porch", **{"policy.process": True})
    await hall.api.pipelines.apply(Source(text=TEXT, files={"check.wasm": build("once").read_bytes()}))
    await hall.api.pipelines.trigger("p", Trigger("loud", "wifi.client.joined", {}))
    await eventually(lambda: porch.delivery.engine.totals().get("p", {}).get("after", {}).get("delivered"), 20)


async def test_a_step_that_cannot_start_leaves_no_program(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = KINDS["siren"]
    assert isinstance(kind, EventKind)
    whole = kind.open

    async def halfway(parts: Parts, pipeline: Pipeline, step: Step) -> tuple[Work, int]:
        for _ in range(2):
            await whole(parts, pipeline, step)
        raise StepFailed("the siren is broken")

    monkeypatch.setattr(kind, "open", halfway)
    hall = await site.start("hall", **{"policy.process": True})
    pipeline, steps_of = loaded(), hall.delivery.engine.steps
    monkeypatch.setattr(steps_of.parts.programs, "module", lambda _cid: in_time(build("once")))
    with pytest.raises(StepFailed, match="the siren is broken"):
        await steps_of.make(pipeline, pipeline.steps[1])
    assert steps_of.parts.programs._runners == {}


async def in_time(path: Path) -> Path:
    return path


def test_a_program_may_be_optional_but_not_hidden() -> None:
    class Maybe(Task, frozen=True, kw_only=True):
        check: Annotated[siren.WasmTask | None, key("a program", None)] = None

    class Hidden(Task, frozen=True, kw_only=True):
        checks: Annotated[list[siren.WasmTask], key("programs", [])]

    one, other = siren.Siren(), siren.Siren()
    one.task, other.task = Maybe, Hidden  # type: ignore[assignment]
    assert Kinds([one])["siren"].programs == {"check": siren.WasmTask}
    with pytest.raises(TypeError, match="a program is a setting by itself"):
        Kinds([other])


async def test_an_unknown_policy_key_is_found_at_the_start(tmp_path: Path) -> None:
    class Odd(siren.SirenTask, frozen=True, kw_only=True):
        policy: ClassVar[str] = "sirens"

    kind = siren.Siren()
    kind.task = Odd
    with pytest.raises(ValueError, match=r"siren: there is no policy\.sirens"):
        Site(tmp_path, Kinds([kind])).node("hall")

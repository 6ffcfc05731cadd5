"""The applied pipelines: the versions that are kept, and the documents that come into force."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from agent.definitions import store as definitions
from agent.definitions.store import KEEP_VERSIONS, Definitions
from agent.delivery import DeliveryEngine, Journal
from agent.model.pipeline import MAX_STEPS, Pipeline, Step, Window
from agent.steps import KINDS
from tests.delivery.driver import no_steps
from tests.doubles import MemoryBlobs, MemoryNet

TAIL = Step(name="log", kind="tail", task={"source": "/x", "wasm": {"module": "m"}})


def pipeline(*steps: Step, text: str = "", name: str = "p") -> Pipeline:
    return Pipeline(name=name, steps=[TAIL, *steps], text=text)


def version(n: int) -> Pipeline:
    return pipeline(Step(name=f"s{n}", kind="wasm", task={"module": "m"}, after=["log"]))


def apply(d: Definitions, made: Pipeline) -> None:
    d.apply(made.name, msgspec.json.encode(made))


def loaded(journal: Journal) -> Definitions:
    made = Definitions(journal.storage, KINDS, journal.versions_in_use)
    made.load()
    return made


async def test_a_version_applied_with_a_late_clock_is_the_newest(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    d = loaded(journal)
    for n in range(KEEP_VERSIONS):
        apply(d, version(n))
    monkeypatch.setattr(definitions, "time", SimpleNamespace(time=lambda: 1000.0))  # 1970: a power cut reset the clock
    new = version(KEEP_VERSIONS)
    apply(d, new)
    assert d.get("p", new.version) == new
    assert d.history("p")[0]["version"] == new.version
    await journal.commit()
    again = loaded(journal)
    assert again.current["p"] == new
    assert len(again.history("p")) == KEEP_VERSIONS


async def test_the_current_version_is_kept_at_any_age(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    d = loaded(journal)
    for n in range(3):
        apply(d, version(n))
    d._at["p", version(2).version] = 0.0  # as after a time with a late clock
    monkeypatch.setattr(definitions, "KEEP_VERSIONS", 1)
    d._forget("p")
    assert [n for n in range(3) if d.get("p", version(n).version)] == [1, 2]


@pytest.mark.parametrize("sql", ["DELETE FROM definition", 'UPDATE definition SET body = \'{"name": "\xff"}\''])
async def test_a_missing_or_damaged_definition_stops_no_other(
    journal: Journal, sql: str, caplog: pytest.LogCaptureFixture
) -> None:
    d = loaded(journal)
    apply(d, version(1))
    apply(d, pipeline(name="other"))
    await journal.storage.write(lambda db: db.execute(f"{sql} WHERE name = 'p'"))
    with caplog.at_level(logging.WARNING):
        again = loaded(journal)
    assert set(again.current) == {"other"}
    assert "p does not run" in caplog.text


def step(kind: Any = "wasm", task: dict[str, Any] | None = None, **fields: Any) -> Step:
    return Step(name="s", kind=kind, task={"module": "m"} if task is None else task, **{"after": ["log"], **fields})


def nested(levels: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for _ in range(levels):
        made = {"a": made}
    return made


NOT_FOR_THIS_VERSION = [
    pipeline(step(where="cpu > 3")),
    pipeline(step(prefer="gpu=true,,")),
    pipeline(step(when="data.fresh()")),
    pipeline(step(dedupe=Window(["data["], 5.0))),
    pipeline(step(attempts=11)),
    pipeline(step(deadline=-1.0)),
    pipeline(step("camera", {"shots": 33})),
    pipeline(step(task={"module": ["m"]})),
    pipeline(step("docker", {})),
    pipeline(step("tail", {"source": nested(200), "wasm": {"module": "m"}}, after=[])),
    pipeline(step(after=["nothing"])),
    pipeline(step(), step()),
    pipeline(step(after=["t"]), msgspec.structs.replace(step(after=["s"]), name="t")),
    pipeline(msgspec.structs.replace(step(), name="S/**")),
    pipeline(*(msgspec.structs.replace(step(), name=f"s{n}") for n in range(MAX_STEPS))),
]


@pytest.mark.parametrize(
    "body",
    [
        *map(msgspec.json.encode, NOT_FOR_THIS_VERSION),
        b'{"name": "\xff", "steps": []}',
        b'{"name": "p", "steps": [], "new": ' + b"[" * 5000,
    ],
)
async def test_a_pipeline_that_cannot_run_leaves_the_old_one_in_force(journal: Journal, body: bytes) -> None:
    d = loaded(journal)
    apply(d, version(1))
    with pytest.raises(msgspec.ValidationError):
        d.apply("p", body)
    assert d.current["p"] == version(1)
    # As an older agent stored it without a check: it is left out, and the others load.
    apply(d, pipeline(name="other"))
    await journal.storage.write(lambda db: db.execute("INSERT INTO definition VALUES ('p', 'v', ?, 1e10)", (body,)))
    again = loaded(journal)
    assert set(again.current) == {"p", "other"}
    assert again.get("p", "v") is None


async def test_old_modules_are_kept_and_current_modules_served(journal: Journal) -> None:
    d = loaded(journal)
    old = pipeline(step(task={"module": "old"}))
    apply(d, old)
    apply(d, pipeline(step(task={"module": "new"})))
    expected = {"old": (False, False), "new": (True, True), "none": (False, False)}
    assert {m: (d.needs(m), d.may_read("porch", m)) for m in expected} == expected
    await journal.commit()
    again = loaded(journal)
    assert {m: (again.needs(m), again.may_read("porch", m)) for m in expected} == expected
    assert (again.old_modules.needs("old"), again.old_modules.may_read("porch", "old")) == (True, False)
    again.apply("p", None)
    assert not again.may_read("porch", "new")
    assert (again.needs("new"), again.old_modules.needs("new")) == (False, True)


async def test_unknown_fields_of_a_task_name_no_module(tmp_path: Path) -> None:
    async def fetch(*_: Any) -> None: ...

    p = DeliveryEngine(
        "ap", "ap", MemoryNet().join("ap"), Journal(tmp_path / "j.db"), MemoryBlobs(), fetch, no_steps, kinds=KINDS
    )
    p.load()
    newer = step("process", {"command": ["x"], "wasm": {"module": ["of", "another", "version"]}})
    apply(p.definitions, pipeline(newer, msgspec.structs.replace(step(task={"module": "n"}), name="t")))
    assert p.definitions.modules() == {"m", "n"}
    p.journal.close()

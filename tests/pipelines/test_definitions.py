"""The applied pipelines: which versions are kept, and what of a document is taken into force."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from agent.model.pipeline import Pipeline, Step
from agent.pipelines import Journal, definitions
from agent.pipelines.definitions import KEEP_VERSIONS, Definitions

TAIL = Step(name="log", kind="tail", task={"source": "/x", "wasm": {"module": "m"}})


def pipeline(*steps: Step, text: str = "", name: str = "p") -> Pipeline:
    return Pipeline(name=name, steps=[TAIL, *steps], text=text)


def version(n: int) -> Pipeline:
    return pipeline(Step(name=f"s{n}", kind="wasm", task={"module": "m"}, after=["log"]))


def apply(d: Definitions, made: Pipeline) -> None:
    d.apply(made.name, msgspec.json.encode(made))


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    made = Journal(tmp_path / "journal.db")
    made.open()
    yield made
    made.close()


def loaded(journal: Journal) -> Definitions:
    made = Definitions(journal)
    made.load()
    return made


async def test_a_version_that_comes_while_the_clock_is_behind_is_the_newest_all_the_same(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    d = loaded(journal)
    for n in range(KEEP_VERSIONS):
        apply(d, version(n))
    monkeypatch.setattr(definitions, "time", SimpleNamespace(time=lambda: 1000.0))  # 1970: no clock over the power cut
    new = version(KEEP_VERSIONS)
    apply(d, new)
    assert d.get("p", new.version) == new
    assert d.history("p")[0]["version"] == new.version
    await journal.commit()
    again = loaded(journal)
    assert again.current["p"] == new
    assert len(again.history("p")) == KEEP_VERSIONS


async def test_the_current_version_is_kept_however_old_it_is(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    d = loaded(journal)
    for n in range(3):
        apply(d, version(n))
    d._at["p", version(2).version] = 0.0  # as an agent left it whose clock was behind
    monkeypatch.setattr(definitions, "KEEP_VERSIONS", 1)
    d._forget("p")
    assert [n for n in range(3) if d.get("p", version(n).version)] == [1, 2]


@pytest.mark.parametrize("sql", ["DELETE FROM definition", 'UPDATE definition SET body = \'{"name": "\xff"}\''])
async def test_a_definition_that_is_gone_or_not_readable_does_not_keep_the_others_from_being_loaded(
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

from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import StepFailed
from agent.executors import check_engine
from agent.executors.wasm import probe_module

ENGINES = ("wasmtime", "wasm3")


@pytest.mark.parametrize("engine", ENGINES)
async def test_this_machines_engines_keep_their_limits(engine: str, tmp_path: Path) -> None:
    said = await check_engine(tmp_path, engine)
    assert said.startswith(f"{engine} runs a program")
    assert said.endswith("keeps the limits of time and memory")


@pytest.mark.parametrize("program", ["takes_memory", "never_ends"])
async def test_an_engine_that_stops_no_program_is_reported(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_module, program, probe_module.answers)
    with pytest.raises(StepFailed, match="does not stop"):
        await check_engine(tmp_path, "wasmtime")


async def test_an_engine_with_a_wrong_answer_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_module, "ANSWER", b"other\n")
    module = probe_module.answers()
    monkeypatch.undo()
    monkeypatch.setattr(probe_module, "answers", lambda: module)
    with pytest.raises(StepFailed, match="does not run a simple program: ok 0"):
        await check_engine(tmp_path, "wasmtime")

"""Large inputs are read straight from the host's bytes; every program still sees what wasmtime's own stdin gives it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.executors.wasm.direct_stdin import LARGE, PIECE, Input
from agent.executors.wasm.sandbox import Call, Outcome
from agent.executors.wasm.sandbox_wasmtime import Wasmtime, WasmtimeProgram
from agent.model.task import MIB

DATA = bytes(range(251)) * 2000
AREA = MIB
"""Size of the area that the program's reads go to."""


class Both(NamedTuple):
    """One module, loaded with the direct stdin and without it."""

    load: Callable[[], WasmtimeProgram]
    plain: WasmtimeProgram

    def outcomes(self, *arguments: str, data: bytes = DATA, seconds: float = 20.0) -> tuple[Outcome, Outcome, bool]:
        """With the direct stdin and without it, and whether the program keeps the direct one."""
        call = Call(["reads", *arguments], data, seconds, 16 * MIB, MIB, MIB)
        program = self.load()
        return program.run(call), self.plain.run(call), program.direct


@pytest.fixture(scope="module")
def both(program: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    target = tmp_path_factory.mktemp("compiled") / "reads.bin"
    sandbox = Wasmtime()
    sandbox.compile(program("reads"), target)
    plain = sandbox.load(target)
    plain.direct = False
    yield Both(lambda: sandbox.load(target), plain)
    sandbox.close()


@pytest.mark.parametrize("size", [PIECE, 65536, 65537, 262144, 4 * MIB])
@pytest.mark.parametrize("data", [DATA[:LARGE], DATA, DATA * 6])
def test_large_pieces_are_read_directly(both: Both, size: int, data: bytes) -> None:
    direct, plain, kept = both.outcomes("all", str(size), data=data)
    assert direct == plain
    reads, total, *_ = direct.stdout.split()
    assert (direct.kind, int(total), int(reads)) == ("ok", len(data), -(-len(data) // size))
    assert kept


def test_memory_that_is_written_again_is_read_as_well_as_bytes(both: Both) -> None:
    direct, plain, kept = both.outcomes("all", "65536", data=bytearray(DATA))
    assert (direct, kept) == (both.outcomes("all", "65536")[1], True)
    assert plain == direct


@pytest.mark.parametrize("size", [1, 1000, PIECE // 2])
def test_small_pieces_are_left_to_the_engine(both: Both, size: int) -> None:
    direct, plain, kept = both.outcomes("all", str(size))
    assert direct == plain
    assert direct.stdout.split()[1] == b"%d" % len(DATA)
    assert not kept


def test_small_inputs_are_left_to_the_engine(both: Both) -> None:
    direct, plain, kept = both.outcomes("all", "10", data=DATA[: LARGE - 1])
    assert direct == plain
    assert kept


@pytest.mark.parametrize(
    ("steps", "direct"),
    [
        pytest.param("v 0a 64a 100000 r 0 0a 1 8a", True, id="plain"),
        pytest.param("v 0a 64a 100000 r 0 0a 1 8a r 0 0a 1 8a v 0a 64a 400000 r 0 0a 1 8a r 0 0a 1 8a", True, id="to the end"),
        pytest.param("v 0a 64a 100000 v 8a 200000a 100000 r 0 0a 2 16a", True, id="two buffers"),
        pytest.param("v 0a 0a 100000 r 0 0a 1 8a", True, id="over its vectors"),
        pytest.param("v 0a 64a 100000 r 0 0a 1 4a", True, id="size over the vector"),
        pytest.param("v 0a 64a 100000 r 0 0a 1 100a", True, id="size in the buffer"),
        pytest.param("v 0a -100000e 100000 r 0 0a 1 8a", True, id="up to the end of the memory"),
        pytest.param("v -8e 64a 100000 r 0 -8e 1 -4e", True, id="vector at the end of the memory"),
        pytest.param("v 0a -100e 100000 g 2 r 0 0a 1 8a", True, id="into memory that grew"),
        pytest.param("v 0a 64a 100000 r 0 0a 1 8a g 2 v 0a -100e 100 r 0 0a 1 8a", True, id="grown between reads"),
        pytest.param("v 0a 64a 0 r 0 0a 1 8a", False, id="empty buffer"),
        pytest.param("v 0a 64a 0 v 8a 64a 100000 r 0 0a 2 16a", False, id="empty buffer first"),
        pytest.param("r 0 0a 0 8a", False, id="no buffer"),
        pytest.param("v 0a -99999e 100000 r 0 0a 1 8a", False, id="over the end of the memory"),
        pytest.param("v 0a 0e 1 r 0 0a 1 8a", False, id="behind the memory"),
        pytest.param("v 0a 64a -1 r 0 0a 1 8a", False, id="longest buffer"),
        pytest.param("v 0a -16 4096 r 0 0a 1 8a", False, id="buffer that wraps"),
        pytest.param("r 0 -4e 1 8a", False, id="vector over the end of the memory"),
        pytest.param("r 0 0e 1 8a", False, id="vector behind the memory"),
        pytest.param("r 0 -8 1 8a", False, id="vector at the end of addresses"),
        pytest.param("v 0a 64a 100000 r 0 0a -1 8a", False, id="most vectors"),
        pytest.param("v 0a 64a 100000 r 0 0a 536870912 8a", False, id="vectors whose size wraps"),
        pytest.param("v 0a 64a 100000 r 0 0a 1 -3e", False, id="size over the end of the memory"),
        pytest.param("v 0a 64a 100000 r 0 0a 1 0e", False, id="size behind the memory"),
        pytest.param("v 0a 64a 100000 r 0 0a 1 -4", False, id="size at the end of addresses"),
        pytest.param("v 0a 64a 100000 r 0 0a 1 9a", False, id="crooked size"),
        pytest.param("v 1a 64a 100000 r 0 1a 1 16a", False, id="crooked vector"),
        pytest.param("v 0a 64a 100000 r 1 0a 1 8a", False, id="stdout"),
        pytest.param("v 0a 64a 100000 r 3 0a 1 8a", False, id="no such file"),
        pytest.param("v 0a 64a 100000 r -1 0a 1 8a", False, id="negative file"),
        pytest.param("v 0a 64a 100000 " + "r 0 0a 1 8a " * 60, False, id="too often"),
    ],
)  # fmt: skip
def test_program_sees_what_the_engine_would_give(both: Both, steps: str, direct: bool) -> None:
    got, wanted, kept = both.outcomes(*steps.split())
    assert (got, kept) == (wanted, direct)


NUMBERS = st.one_of(
    st.integers(0, AREA - 1).map(lambda n: f"{n & ~3}a"),
    st.integers(-AREA, 100).map(lambda n: f"{n}e"),
    st.integers(-100, 100).map(str),
    st.sampled_from(["2147483647", "2147483648", "-1", "65536", "262144"]),
)
STEPS = st.one_of(
    st.tuples(st.just("v"), NUMBERS, NUMBERS, NUMBERS),
    st.tuples(st.just("r"), st.sampled_from(["0"] * 8 + ["1", "7"]), NUMBERS, st.sampled_from("1112"), NUMBERS),
    # A vector and its read: otherwise few reads have a buffer.
    st.tuples(NUMBERS, NUMBERS, st.integers(1, 300_000), NUMBERS).map(
        lambda n: ("v", n[0], n[1], str(n[2]), "r", "0", n[0], "1", n[3])
    ),
    st.tuples(st.just("g"), st.sampled_from("012")),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=6))
def test_any_reads_give_what_the_engine_would_give(both: Both, steps: list[tuple[str, ...]]) -> None:
    got, wanted, _ = both.outcomes(*(part for step in steps for part in step))
    assert got == wanted


def test_program_that_never_ends_is_stopped_at_its_deadline(both: Both) -> None:
    begun = time.monotonic()
    direct, _, kept = both.outcomes("all", "65536", "loop", seconds=0.3)
    assert (direct.kind, kept) == ("deadline", True)
    assert time.monotonic() - begun < 10


def test_several_programs_read_their_own_inputs_at_once(both: Both) -> None:
    program = both.load()
    inputs = [bytes([n]) * (LARGE + n * 1000) for n in range(1, 9)]

    def run(data: bytes) -> bytes:
        return program.run(Call(["reads", "all", "65536"], data, 20.0, 16 * MIB, MIB, MIB)).stdout

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(run, inputs * 3))
    assert found == [both.outcomes("all", "65536", data=data)[1].stdout for data in inputs] * 3
    assert program.direct


def test_failing_host_function_leaves_the_run_to_the_engine(
    both: Both, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> bool:
        raise MemoryError

    monkeypatch.setattr(Input, "read", broken)
    direct, plain, kept = both.outcomes("all", "65536")
    assert (direct, kept) == (plain, False)
    assert [r.message for r in caplog.records] == ["a read of a WASM program failed"]


def test_module_that_could_close_its_stdin_keeps_the_engines(program: Callable[[str], Path], tmp_path: Path) -> None:
    sandbox = Wasmtime()
    sandbox.compile(program("count"), tmp_path / "count.bin")
    assert not sandbox.load(tmp_path / "count.bin").direct
    sandbox.close()


@pytest.mark.parametrize("memory", ["", "(memory 1)", '(memory (export "memory") 0)', '(func (export "memory"))'])
def test_module_without_a_memory_is_left_to_the_engine(memory: str, tmp_path: Path) -> None:
    text = f"""(module (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
        {memory} (func (export "_start") (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))))"""
    (tmp_path / "bare.wasm").write_bytes(wasmtime.wat2wasm(text))
    sandbox, call = Wasmtime(), Call(["bare"], DATA, 5.0, MIB, MIB, MIB)
    sandbox.compile(tmp_path / "bare.wasm", tmp_path / "bare.bin")
    program = sandbox.load(tmp_path / "bare.bin")
    first, second = program.run(call), program.run(call)
    assert (program.direct, first.kind) == (False, second.kind)
    assert first.kind in ("trap", "error")
    sandbox.close()

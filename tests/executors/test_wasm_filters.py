"""WASM source filters, and how modules are compiled and kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import ConfigError, StepFailed
from agent.executors import WasmExecutor
from agent.executors.wasm.filter import MAX_BATCH, parse_events
from agent.executors.wasm.sandbox import Call, Program
from agent.executors.wasm.sandbox_wasmtime import Wasmtime
from agent.model.task import MIB, FilterRunner, Limits, LineEvent, WasmTask
from tests.executors.conftest import Lines

LIMITS = Limits(memory=16 * MIB, timeout=30.0, stdout=64 * 1024, stderr=4096)
HASTY = msgspec.structs.replace(LIMITS, timeout=0.5)
MakeFilter = Callable[..., FilterRunner]


@pytest.fixture
async def executor(tmp_path: Path) -> AsyncIterator[WasmExecutor]:
    made = WasmExecutor(tmp_path / "cache", tmp_path / "scratch", workers=2)
    yield made
    await made.close()


@pytest.fixture
def make_filter(executor: WasmExecutor, program: Callable[[str], Path]) -> MakeFilter:
    def make(*args: str, name: str = "count") -> FilterRunner:
        return executor.filter(
            program(name),
            WasmTask(module=name, args=list(args), limits=HASTY if {"loop", "flood"} & set(args) else LIMITS),
        )

    return make


async def test_events_name_their_lines(make_filter: MakeFilter, log: Lines) -> None:
    events = await make_filter("log").feed(b"a\nhit one\nb\nhit two\n", log)
    assert events == [LineEvent(2, "t.hit"), LineEvent(4, "t.hit")]
    assert log == ["first", "second"]
    assert await make_filter().feed(b"nothing\n", log) == []
    assert await make_filter().feed(b"", log) == []


def test_an_event_may_name_its_access_point() -> None:
    line = b'{"line": 1, "type": "t.hit", "access_point": "%s"}\n'
    assert parse_events(line % b"attic", b"hit\n") == [LineEvent(1, "t.hit", access_point="attic")]
    assert parse_events(line % b"x" * 64, b"hit\n")
    with pytest.raises(StepFailed, match="access point of the event of line 1 has a name of more than 64 bytes"):
        parse_events(line % ("ä" * 33).encode(), b"hit\n")


async def test_several_filters_run_at_once(make_filter: MakeFilter, log: Lines) -> None:
    runner = make_filter()
    batches = [b"x\n" * n + b"hit\n" for n in range(40)]
    found = await asyncio.gather(*(runner.feed(batch, log) for batch in batches))
    assert [events[0].line for events in found] == list(range(1, 41))


@pytest.mark.parametrize(
    ("mode", "code", "text"),
    [
        ("loop", "step.timeout", "longer than its limit of 0.5 s"),
        ("crash", "step.trap", "crashed"),
        ("garbage", "step.answer", "one event a line"),
        ("beyond", "step.answer", "line 99999 of a batch of 2 lines"),
        ("zero", "step.answer", "neither its line"),
        ("type", "step.answer", "has the type 'bad type'"),
        ("flood", "step.stdout", "bytes to stdout"),
        ("partial", "step.exit", "exited with 3"),
    ],
)
async def test_bad_filter_is_stopped_and_its_output_is_discarded(
    mode: str, code: str, text: str, make_filter: MakeFilter, log: Lines
) -> None:
    with pytest.raises(StepFailed, match=text) as failure:
        await make_filter(mode).feed(b"hit\nhit\n", log)
    assert failure.value.code == code
    assert not failure.value.final
    assert await make_filter().feed(b"hit\n", log) == [LineEvent(1, "t.hit")]


async def test_oversized_batch_is_refused(make_filter: MakeFilter, log: Lines) -> None:
    with pytest.raises(StepFailed, match="larger than"):
        await make_filter().feed(b"x" * (MAX_BATCH + 1), log)


async def test_invalid_module_is_refused_for_good(
    make_filter: MakeFilter, executor: WasmExecutor, tmp_path: Path, log: Lines
) -> None:
    (tmp_path / "text.wasm").write_bytes(b"not a module")
    # A module with one function that uses a SIMD instruction, exported as _start: (func (drop (v128.const i64x2 0 0))).
    simd = bytes.fromhex("0061736d01000000010401600000030201000a17011500fd0c") + bytes(16) + b"\x1a\x0b"
    (tmp_path / "simd.wasm").write_bytes(simd)
    for name, text in (("text.wasm", "not valid"), ("simd.wasm", "not valid"), ("none.wasm", "cannot be read")):
        with pytest.raises(StepFailed, match=text) as failure:
            await executor.filter(tmp_path / name, WasmTask(module=name)).feed(b"x\n", log)
        assert failure.value.final
        assert failure.value.code == "wasm.invalid"
    with pytest.raises(StepFailed, match=r"imports env.launch; only wasi_snapshot_preview1 is there"):
        await make_filter(name="foreign").feed(b"x\n", log)
    library = bytes.fromhex("0061736d01000000")
    (tmp_path / "library.wasm").write_bytes(library)
    with pytest.raises(StepFailed, match="no _start"):
        await executor.filter(tmp_path / "library.wasm", WasmTask(module="x")).feed(b"x\n", log)


async def test_compiled_form_is_kept_and_a_damaged_one_is_made_anew(
    tmp_path: Path, program: Callable[[str], Path], log: Lines
) -> None:
    task = WasmTask(module="count")

    async def once() -> Path:
        executor = WasmExecutor(tmp_path / "cache", tmp_path / "scratch")
        assert await executor.filter(program("count"), task).feed(b"hit\n", log) == [LineEvent(1, "t.hit")]
        await executor.close()
        (kept,) = (tmp_path / "cache").iterdir()
        return kept

    kept = await once()
    first = kept.stat()
    assert first.st_mode & 0o077 == 0
    assert (await once()).stat().st_ino == first.st_ino
    kept.write_bytes(b"damaged")
    assert (await once()).stat().st_size == first.st_size


def test_cache_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "cache").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError):
        WasmExecutor(tmp_path / "cache", tmp_path / "scratch")


@pytest.fixture(scope="module")
def count(program: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The filter as the engine runs it, without threads around it."""
    target = tmp_path_factory.mktemp("compiled") / "count.bin"
    sandbox = Wasmtime()
    sandbox.compile(program("count"), target)
    yield sandbox.load(target)
    sandbox.close()


@settings(max_examples=100, deadline=None)
@given(lines=st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"").replace(b"\0", b"")), max_size=30))
def test_line_numbers_are_right_for_any_bytes(lines: list[bytes], count: Program) -> None:
    data = b"".join(line + b"\n" for line in lines)
    outcome = count.run(Call(["count"], data, 5.0, 16 * MIB, MIB, 4096))
    expected = [n for n, line in enumerate(lines, 1) if b"hit" in line]
    assert [e.line for e in parse_events(outcome.stdout, data)] == expected


async def test_deadlines_hold_while_other_runs_come_and_go(make_filter: MakeFilter, log: Lines) -> None:
    """Each new run must not move the clock of those that are under way."""
    slow = asyncio.create_task(make_filter("loop").feed(b"x\n", log))
    quick = make_filter()
    runs = 0
    began = time.monotonic()
    while not slow.done():
        await quick.feed(b"hit\n", log)
        runs += 1
    with pytest.raises(StepFailed, match="longer than"):
        await slow
    assert runs > 0
    assert time.monotonic() - began >= HASTY.timeout

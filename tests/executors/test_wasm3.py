"""The same programs under wasm3 (armv7's engine) as under wasmtime: same answers, same refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.blobs import BlobStore
from agent.errors import StepFailed
from agent.executors import WasmExecutor
from agent.executors.wasm.module_file import check_module
from agent.model.task import MIB, Limits, Runner, WasmTask
from tests.executors.conftest import Lines, MakeInput, runner_of

LIMITS = Limits(memory=16 * MIB, timeout=1.0, outputs=MIB, stdout=64 * 1024, stderr=4096, files=8)
MakeRunner = Callable[..., Runner]


@pytest.fixture
async def executor(tmp_path: Path) -> AsyncIterator[WasmExecutor]:
    made = WasmExecutor(tmp_path / "cache", tmp_path / "scratch", workers=1, engine="wasm3")
    yield made
    await made.close()


@pytest.fixture
def make_runner(executor: WasmExecutor, store: BlobStore, program: Callable[[str], Path], log: Lines) -> MakeRunner:
    def make(name: str, limits: Limits = LIMITS) -> Runner:
        return runner_of(store, log, WasmTask(module=name, limits=limits), wasm=executor, module=program(name))

    return make


async def test_step_reads_its_blob_and_its_file_becomes_one(
    make_runner: MakeRunner, make_input: MakeInput, store: BlobStore, log: Lines
) -> None:
    (output,) = await make_runner("files").run(await make_input(("a.txt", b"hello"), copy=True))
    assert await store.read(output.blobs[0].cid) == b"hello"


async def test_filter_finds_the_same(executor: WasmExecutor, program: Callable[[str], Path], log: Lines) -> None:
    runner = executor.filter(program("count"), WasmTask(module="count", args=["log"], limits=LIMITS))
    events = await runner.feed(b"a\nhit\n" * 500, log)
    assert [e.line for e in events] == list(range(2, 1001, 2))
    assert log == ["first", "second"]


async def test_module_cannot_get_out_of_its_folders(
    make_runner: MakeRunner, make_input: MakeInput, log: Lines, store: BlobStore
) -> None:
    item = await make_input(("a.txt", b"hello"))
    await make_runner("files").run(item)
    assert len(log) == 13
    assert [line for line in log if not line.endswith("refused")] == []
    assert await store.read(item.blobs[0].cid) == b"hello"


@pytest.mark.parametrize(
    ("evil", "codes"),
    [
        ("loop", "step.timeout"),
        ("sleep", "step.exit"),
        ("memory", "step.exit|step.trap|wasm.worker"),
        ("stdout-text", "step.stdout|step.timeout"),
        ("stderr", "step.stderr|step.timeout"),
        ("bytes", "step.outputs"),
        ("files", "step.outputs"),
        ("one-big-file", "step.exit|step.outputs"),
        ("descriptors", "step.exit"),
        ("crash", "step.trap"),
        ("stack", "step.trap|wasm.worker"),
        ("exit", "step.exit"),
        ("silence", "step.answer"),
        ("garbage", "step.answer"),
        ("other", "step.order"),
        ("error", "step.error"),
    ],
)
async def test_hostile_module_is_stopped_and_the_next_event_works(
    evil: str, codes: str, make_runner: MakeRunner, make_input: MakeInput, log: Lines
) -> None:
    # wasm3's limits are stretched by its slowness: 0.6 s here.
    runner = make_runner(
        "hostile", Limits(**{**{f: getattr(LIMITS, f) for f in LIMITS.__struct_fields__}, "timeout": 0.05})
    )
    with pytest.raises(StepFailed) as failure:
        await runner.run(await make_input(evil=evil))
    assert failure.value.code in codes.split("|")
    assert await runner.run(await make_input()) == []


async def test_foreign_imports_and_libraries_are_refused(
    executor: WasmExecutor, program: Callable[[str], Path], tmp_path: Path, log: Lines
) -> None:
    with pytest.raises(StepFailed, match=r"imports env.launch; only"):
        await executor.filter(program("foreign"), WasmTask(module="x")).feed(b"x\n", log)
    (tmp_path / "library.wasm").write_bytes(bytes.fromhex("0061736d01000000"))
    with pytest.raises(StepFailed, match="no _start"):
        await executor.filter(tmp_path / "library.wasm", WasmTask(module="x")).feed(b"x\n", log)


@given(data=st.data())
def test_a_damaged_module_is_refused_clearly_or_is_valid(data: st.DataObject, program: Callable[[str], Path]) -> None:
    code = bytearray(program("count").read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        code[data.draw(st.integers(0, min(len(code), 2000) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(code)))
    try:
        check_module(bytes(code[:cut]))
    except StepFailed as e:
        assert e.code == "wasm.invalid"  # noqa: PT017

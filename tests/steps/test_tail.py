"""From a log file through the real filter into the journal: ids, positions, back-pressure, failures."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.backoff import Backoff
from agent.clock import boottime
from agent.delivery import DeliveryEngine, Journal
from agent.delivery.rows import Row
from agent.errors import ConfigError, StepFailed
from agent.executors import NoLog, WasmExecutor
from agent.model.task import FilterRunner, LineEvent, WasmTask
from agent.sources import MAX_BATCH, Batch, Counters, FileSource, LineSource, Position, SenderCount
from agent.steps import KINDS
from agent.steps.tail_runner import TailRunner
from tests.delivery.driver import no_steps
from tests.doubles import MemoryBlobs, MemoryNet
from tests.support import eventually, load_pipeline

TEXT = """\
version: 1
name: p
steps:
  wifi: {tail: auto, wasm: {module: wifi-join.wasm}, emit: [wifi.client.joined, wifi.client.left]}
  alert: {after: wifi, sink: , deadline: 1h}
"""
PIPELINE = load_pipeline(TEXT)


def joined(i: int, stamp: str = "") -> bytes:
    return f"{stamp}hostapd: wlan0: AP-STA-CONNECTED {mac(i)}\n".encode()


def mac(i: int) -> str:
    return f"02:00:00:00:{i >> 8:02x}:{i & 255:02x}"


class Ap:
    """A node with a log; `read` follows it into a journal until the block ends. Nothing is delivered on."""

    def __init__(self, folder: Path, module_file: Path, executor: WasmExecutor, *, max_open: int = 10_000) -> None:
        self.folder, self.max_open = folder, max_open
        self.log = folder / "messages"
        self.log.touch()
        self.program: FilterRunner = executor.filter(module_file, WasmTask(module="m"))
        self.pipeline = PIPELINE
        self.source: LineSource | None = None
        self.open()

    def open(self) -> None:
        self.journal = Journal(self.folder / "journal.db", max_open=self.max_open, recent_rows=2_000)
        self.pipelines = DeliveryEngine(
            "ap", "ap", MemoryNet().join("ap"), self.journal, MemoryBlobs(), self._fetch, no_steps, kinds=KINDS
        )
        self.pipelines.load()
        self.lines = NoLog()

    async def _fetch(self, cid: str, holders: list[str], timeout: float, size: int | None) -> None:
        raise AssertionError("nothing is fetched")

    def write(self, *lines: bytes) -> None:
        with self.log.open("ab") as file:
            file.write(b"".join(lines))

    @property
    def rows(self) -> list[Row]:
        return sorted(self.journal.rows.values(), key=lambda r: r.n)

    @property
    def macs(self) -> list[int]:
        return [int(r.event.data["mac"][-5:].replace(":", ""), 16) for r in self.rows]

    async def __aenter__(self) -> Ap:
        async def make() -> FilterRunner:
            return self.program

        self.runner = TailRunner(
            self.pipelines.context, self.pipeline, self.pipeline.steps[0],
            self.source or FileSource(self.log, from_start=True), "stream", make, log=self.lines,
        )  # fmt: skip
        self.task = asyncio.create_task(self.runner.run())
        return self

    async def __aexit__(self, *exc: Any) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    def restart(self) -> None:
        self.journal.close()
        self.open()


@pytest.fixture
async def ap(tmp_path: Path, filters: Path, executor: WasmExecutor) -> AsyncIterator[Ap]:
    made = Ap(tmp_path, filters / "wifi-join.wasm", executor)
    yield made
    made.journal.close()


async def test_a_line_becomes_a_row_for_each_step_that_follows(ap: Ap) -> None:
    async with ap:
        ap.write(b"kernel: hello\n", joined(1), b"hostapd: wlan0: AP-STA-DISCONNECTED 02:00:00:00:00:01\n")
        await eventually(lambda: len(ap.rows) == 2)
    first, second = ap.rows
    assert (first.step, first.pipeline, first.version) == ("alert", "p", PIPELINE.version)
    e = first.event
    assert (e.type, e.source, e.step, e.subject, e.root) == (
        "wifi.client.joined", "/ap/p/wifi", "wifi", "02:00:00:00:00:01", e.id
    )  # fmt: skip
    assert e.data["interface"] == "wlan0"
    assert second.event.type == "wifi.client.left"
    assert second.event.id != e.id
    assert [h.step for h in first.trace] == ["line", "wifi"]
    assert ap.runner.events == 2


async def test_events_that_no_step_takes_are_shown(ap: Ap) -> None:
    ap.pipeline = load_pipeline("".join(TEXT.splitlines(keepends=True)[:4]))
    async with ap:
        ap.write(joined(1), joined(2))
        await eventually(lambda: len(ap.pipelines.recent) == 2)
    assert [e["data"]["mac"][-2:] for e in ap.pipelines.recent] == ["01", "02"]
    assert ap.rows == []
    ap.restart()
    async with ap:
        ap.write(joined(3))
        await eventually(lambda: ap.pipelines.recent)
    assert [e["data"]["mac"][-2:] for e in ap.pipelines.recent] == ["03"]


async def test_position_follows_events_that_are_only_shown(ap: Ap) -> None:
    def stored() -> bytes:
        return b"".join(value for (value,) in ap.journal.query("SELECT value FROM position"))

    ap.pipeline = load_pipeline("".join(TEXT.splitlines(keepends=True)[:4]))
    async with ap:
        for many in (1, 2500):
            ap.write(*(joined(i) for i in range(many)))
            await eventually(
                lambda n=many - 1: ap.pipelines.recent and ap.pipelines.recent[-1]["data"]["mac"] == mac(n)
            )
            await eventually(lambda: b'"offset":%d,' % ap.log.stat().st_size in stored())
    assert ap.runner.events == 2501


async def test_lines_and_events_are_counted(ap: Ap) -> None:
    async with ap:
        ap.write(joined(1), b"kernel: hello\n")
        await eventually(lambda: ap.runner.counts().events == 1)
        ap.write(b"kernel: again\n")
        await eventually(lambda: ap.runner.counts().lines == 3)
    counts = ap.runner.counts()
    assert counts.unrecognised == 1
    assert {sender: f.events for sender, f in counts.found.items()} == {"": 1}


async def test_types_that_the_step_does_not_emit_stay_behind(ap: Ap) -> None:
    ap.pipeline = load_pipeline(TEXT.replace("wifi.client.joined, ", ""))
    async with ap:
        ap.write(joined(1), b"hostapd: wlan0: AP-STA-DISCONNECTED 02:00:00:00:00:01\n")
        await eventually(lambda: ap.runner.events == 2)
    assert [r.event.type for r in ap.rows] == ["wifi.client.left"]


async def test_after_a_restart_no_line_is_lost_and_none_comes_twice(ap: Ap) -> None:
    async with ap:
        ap.write(joined(1), joined(2))
        await eventually(lambda: len(ap.rows) == 2)
    ap.restart()
    ap.write(joined(3))
    async with ap:
        await eventually(lambda: len(ap.rows) == 3)
        ap.write(joined(4))
        await eventually(lambda: len(ap.rows) == 4)
    assert ap.macs == [1, 2, 3, 4]


async def test_lines_read_again_give_the_same_ids_and_no_second_row(ap: Ap) -> None:
    async with ap:
        ap.write(*(joined(i) for i in range(50)))
        await eventually(lambda: len(ap.rows) == 50)
        position = ap.journal.positions["stream"]
        ap.write(joined(50), joined(51))
        await eventually(lambda: len(ap.rows) == 52)
    ids = [r.event.id for r in ap.rows]
    ap.restart()
    ap.journal.positions["stream"] = position  # as if the last position had been lost with a crash
    async with ap:
        ap.write(joined(52))
        await eventually(lambda: 52 in ap.macs)
    assert [r.event.id for r in ap.rows][:52] == ids
    assert ap.macs == list(range(53))


async def test_position_and_rows_are_one_transaction(ap: Ap) -> None:
    seen = []
    write = ap.journal.storage.write

    def watched(fn: Any) -> Any:
        future = write(fn)
        future.add_done_callback(
            lambda _: seen.append(
                ap.journal.query("SELECT (SELECT count(*) FROM row), (SELECT value FROM position)")[0]
            )
        )
        return future

    ap.journal.storage.write = watched  # type: ignore[method-assign]
    async with ap:
        for i in range(10):
            ap.write(joined(i))
            await eventually(lambda n=i: any(count == n + 1 for count, _ in seen))
    by_position: dict[Any, set[int]] = {}
    for count, position in seen:
        if position:
            by_position.setdefault(position, set()).add(count)
    assert len(by_position) >= 10
    assert all(len(counts) == 1 for counts in by_position.values()), "a position was seen with and without its rows"


async def test_a_large_log_is_read_whole(ap: Ap) -> None:
    noise = b"Mar  4 09:12:18 ap kernel: br-lan: port 3(wlan0) entered forwarding state\n" * 500
    ap.write(*(joined(i) + noise for i in range(100)))
    async with ap:
        await eventually(lambda: len(ap.rows) == 100, 20)
    assert ap.macs == list(range(100))


async def test_reading_pauses_while_the_journal_is_nearly_full(
    tmp_path: Path, filters: Path, executor: WasmExecutor
) -> None:  # fmt: skip
    ap = Ap(tmp_path, filters / "wifi-join.wasm", executor, max_open=40)
    async with ap:
        for i in range(36):
            ap.write(joined(i))
            await eventually(lambda n=i: len(ap.rows) == n + 1)
        waiting = asyncio.Event()
        room = ap.runner._room

        async def watched() -> None:
            waiting.set()
            await room()

        ap.runner._room = watched  # type: ignore[method-assign]
        ap.write(joined(36), joined(37))
        await asyncio.wait_for(waiting.wait(), 10)
        assert len(ap.rows) == 36
        assert ap.journal.room() == 4  # kept for what other nodes deliver
        for r in ap.rows[:10]:
            ap.pipelines.apply(ap.pipelines.lifecycle.ended(r, "delivered"))
        await eventually(lambda: len(ap.rows) == 38)
    assert ap.macs == list(range(38))
    ap.journal.close()


async def test_a_batch_of_many_events_keeps_to_max_open(tmp_path: Path, filters: Path, executor: WasmExecutor) -> None:
    ap = Ap(tmp_path, filters / "wifi-join.wasm", executor, max_open=100)
    ap.write(*(joined(i) for i in range(1000)))
    most = 0
    async with ap:
        while len(ap.rows) < 1000:
            await eventually(lambda n=len(ap.rows): len(ap.rows) > n)
            most = max(most, ap.journal.open_count)
            for r in [r for r in ap.rows if r.open]:
                ap.pipelines.apply(ap.pipelines.lifecycle.ended(r, "delivered"))
    assert ap.macs == list(range(1000))
    assert most == 90
    ap.journal.close()


async def test_a_half_accepted_batch_comes_again_with_the_same_ids(
    tmp_path: Path, filters: Path, executor: WasmExecutor
) -> None:
    ap = Ap(tmp_path, filters / "wifi-join.wasm", executor, max_open=100)
    ap.write(*(joined(i) for i in range(150)))
    async with ap:
        await eventually(lambda: len(ap.rows) == 90)
    ap.restart()
    for r in ap.rows:
        ap.pipelines.apply(ap.pipelines.lifecycle.ended(r, "delivered"))
    async with ap:
        await eventually(lambda: len(ap.rows) == 150)
    assert ap.macs == list(range(150))
    assert len({r.event.id for r in ap.rows}) == 150
    ap.journal.close()


def stamp(age: float) -> str:
    return datetime.fromtimestamp(time.time() - age, UTC).strftime("%Y-%m-%dT%H:%M:%SZ ap ")


async def test_a_deadline_counts_from_the_line_s_own_time(ap: Ap) -> None:
    ap.write(joined(3, stamp(7200)), joined(1, stamp(1800)), joined(2, stamp(5)), f"{stamp(0)}kernel: hello\n".encode())
    async with ap:
        await eventually(lambda: len(ap.rows) == 3)
    now = boottime()
    too_old, old, new = ap.rows
    assert now - old.root_at == pytest.approx(1800, abs=60)
    assert old.deadline - now == pytest.approx(1800, abs=60)
    assert now - new.root_at < 60
    assert old.trace[0].at_ms >= 1_800_000 - 60_000
    assert too_old.deadline < now


@pytest.fixture
def berlin() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


def in_utc(age: float) -> str:
    return datetime.fromtimestamp(time.time() - age, UTC).strftime("%b %e %H:%M:%S ap ")


@pytest.mark.usefixtures("berlin")
async def test_a_line_of_another_time_zone_is_now(ap: Ap) -> None:
    async with ap:
        await eventually(lambda: "stream" in ap.journal.positions)
        ap.write(joined(1, in_utc(0)))
        await eventually(lambda: len(ap.rows) == 1)
    assert boottime() - ap.rows[0].root_at < 60
    assert ap.rows[0].deadline > boottime()


@pytest.mark.usefixtures("berlin")
async def test_a_backlog_of_another_zone_has_its_true_age(ap: Ap) -> None:
    async with ap:
        await eventually(lambda: "stream" in ap.journal.positions)
        ap.write(joined(1, in_utc(0)))
        await eventually(lambda: len(ap.rows) == 1)
    ap.restart()
    ap.write(joined(2, in_utc(1200)), joined(3, in_utc(0)))
    os.utime(ap.log, (0, 0))  # the time of the file helps no more
    async with ap:
        await eventually(lambda: len(ap.rows) == 3)
    ages = [boottime() - r.root_at for r in ap.rows]
    assert ages[1:] == pytest.approx([1200, 0], abs=60)


@pytest.mark.usefixtures("berlin")
async def test_the_newest_line_of_a_first_backlog_teaches_the_offset(ap: Ap) -> None:
    ap.write(joined(1, in_utc(0)))
    async with ap:
        await eventually(lambda: len(ap.rows) == 1)
        difference = ap.runner.counts().clock_s
        assert difference == pytest.approx(-time.localtime().tm_gmtoff, abs=60)


# -- a filter that fails ----------------------------------------------------------------------------------------------


class Failing:
    """Runs the real filter, but fails on batches that hold a poisoned line."""

    def __init__(self, program: FilterRunner, times: int, *, final: bool = False) -> None:
        self.program, self.times, self.final, self.runs = program, times, final, 0

    async def feed(self, lines: bytes, log: Any) -> list[LineEvent]:
        if b"poison" in lines:
            self.runs += 1
            if self.runs <= self.times:
                raise StepFailed("the filter trapped", final=self.final)
        return await self.program.feed(lines, log)

    async def close(self) -> None: ...


async def test_a_filter_that_fails_once_runs_again_on_the_same_lines(ap: Ap) -> None:
    ap.program = failing = Failing(ap.program, 2)
    async with ap:
        ap.write(joined(1), b"poison\n")
        await eventually(lambda: len(ap.rows) == 1)
    assert failing.runs == 3
    assert "failed_batches" not in ap.journal.counts["p", "wifi"]


@pytest.mark.parametrize(("final", "runs"), [(False, 3), (True, 1)])
async def test_a_batch_that_always_fails_is_counted_and_passed_over(
    ap: Ap, caplog: pytest.LogCaptureFixture, final: bool, runs: int
) -> None:
    ap.program = failing = Failing(ap.program, 1_000_000, final=final)
    async with ap:
        ap.write(b"poison\n")
        await eventually(lambda: ap.journal.counts["p", "wifi"]["failed_batches"] == 1)
        assert failing.runs == runs
        ap.write(joined(2))
        await eventually(lambda: len(ap.rows) == 1)
    assert ap.macs == [2]
    assert "passed over: the filter trapped" in caplog.text
    ap.restart()
    assert ap.journal.counts["p", "wifi"]["failed_batches"] == 1


CHUNK = b"Mar  4 09:12:18 ap kernel: br-lan: port 3(wlan0) entered forwarding state\n" * 500
"""Lines between two events of a backlog; its batches are of 1 MiB, then of 2 MiB, where nobody says they are dense."""


class InUse:
    """A source whose port is in use at first; then nothing comes."""

    name, problem = "udp://:5514", ""

    def __init__(self) -> None:
        self.counters, self.opened = Counters(), 0

    def senders(self) -> list[SenderCount]:
        return []

    async def batches(self, position: Position | None) -> AsyncIterator[Batch]:
        self.opened += 1
        if self.opened == 1:
            raise ConfigError("it cannot listen", hint="choose another port")
        await asyncio.Event().wait()
        yield Batch(b"", 0, b"", None)


async def test_a_source_that_works_again_without_a_line_is_no_fault(ap: Ap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.steps.tail_runner.WORKS", 0.05)
    monkeypatch.setattr("agent.steps.tail_runner.BACKOFF", Backoff((0.2,)))
    ap.source = InUse()
    async with ap:
        await eventually(lambda: ap.runner.problem)
        assert (ap.runner.problem, ap.runner.hint) == ("it cannot listen", "choose another port")
        await eventually(lambda: not ap.runner.problem)
    assert ap.runner.hint == ""


class Small(Failing):
    """Its limits are those of a batch of MAX_BATCH: it fails on larger batches."""

    def __init__(self, program: FilterRunner) -> None:
        super().__init__(program, 0)
        self.sizes: list[int] = []

    async def feed(self, lines: bytes, log: Any) -> list[LineEvent]:
        self.sizes.append(len(lines))
        if len(lines) > MAX_BATCH:
            raise StepFailed("the filter ran longer than its limit")
        return await self.program.feed(lines, log)


class Overshooting(Small):
    """Names, for a piece that holds a poisoned line, the first line of the next piece."""

    async def feed(self, lines: bytes, log: Any) -> list[LineEvent]:
        if b"poison" in lines and len(lines) <= MAX_BATCH:
            self.runs += 1
            return [LineEvent(line=lines.count(b"\n") + 1, type="wifi.client.joined", data={"mac": "00:00"})]
        return await super().feed(lines, log)


async def test_a_batch_too_large_for_the_filter_is_fed_in_pieces(ap: Ap) -> None:
    ap.program = small = Small(ap.program)
    ap.write(*(joined(i) + CHUNK for i in range(200)))
    async with ap:
        await eventually(lambda: len(ap.rows) == 200, 20)
    assert ap.macs == list(range(200))
    assert "failed_batches" not in ap.journal.counts["p", "wifi"]
    assert MAX_BATCH < max(small.sizes) <= 2 * MAX_BATCH


async def test_events_of_pieces_have_the_ids_of_the_whole_batch(ap: Ap) -> None:
    async with ap:
        ap.write(joined(0))
        await eventually(lambda: len(ap.rows) == 1)
        position = ap.journal.positions["stream"]
        ap.write(*(CHUNK + joined(i) for i in range(1, 100)))
        await eventually(lambda: len(ap.rows) == 100, 20)
    ids = [r.event.id for r in ap.rows]
    ap.restart()
    ap.journal.positions["stream"] = position
    ap.program = small = Small(ap.program)
    ap.write(joined(100))
    async with ap:
        await eventually(lambda: ap.macs[-1] == 100, 20)
    assert max(small.sizes) > MAX_BATCH
    assert [r.event.id for r in ap.rows][:100] == ids
    assert ap.macs == list(range(101))


@pytest.mark.parametrize("fails", [lambda p: Failing(p, 1_000_000), Overshooting])
async def test_only_the_failing_piece_of_a_batch_is_passed_over(
    ap: Ap, caplog: pytest.LogCaptureFixture, fails: Callable[[FilterRunner], Failing]
) -> None:
    ap.program = failing = fails(ap.program)
    ap.write(*(joined(i) + (b"poison\n" if i == 40 else b"") + CHUNK for i in range(100)))
    async with ap:
        await eventually(lambda: bool(ap.rows) and ap.macs[-1] == 99, 20)
    missing = sorted({*range(100)} - {*ap.macs})
    assert 40 in missing
    assert missing == list(range(missing[0], missing[-1] + 1))
    assert len(missing) <= MAX_BATCH // len(CHUNK) + 1
    assert len(ap.rows) == 100 - len(missing)
    assert ap.journal.counts["p", "wifi"]["failed_batches"] == 1
    assert failing.runs >= 3
    (told,) = (r for r in caplog.records if "passed over" in r.message)
    assert isinstance(told.args, tuple)
    assert MAX_BATCH // 2 < told.args[2] <= MAX_BATCH  # type: ignore[operator]


class Lying(Failing):
    """Names lines that are not in the batch."""

    async def feed(self, lines: bytes, log: Any) -> list[LineEvent]:
        return [LineEvent(line=5000, type="x")] if lines else []


async def test_a_filter_that_names_lines_that_are_not_there_has_failed(ap: Ap) -> None:
    ap.program = Lying(ap.program, 0)
    async with ap:
        ap.write(joined(1))
        await eventually(lambda: ap.journal.counts["p", "wifi"]["failed_batches"] == 1)
    assert not ap.rows


async def test_a_module_that_is_no_filter_does_not_stop_the_log(
    tmp_path: Path, filters: Path, executor: WasmExecutor
) -> None:  # fmt: skip
    ap = Ap(tmp_path, filters / "rescale.wasm", executor)
    async with ap:
        ap.write(joined(1))
        await eventually(lambda: ap.journal.counts["p", "wifi"]["failed_batches"] >= 1, 20)
        assert not ap.task.done()
    ap.journal.close()


async def test_the_reason_of_a_filter_that_ends_is_shown(tmp_path: Path, filters: Path, executor: WasmExecutor) -> None:
    ap = Ap(tmp_path, filters / "wifi-join.wasm", executor)
    ap.program = executor.filter(filters / "wifi-join.wasm", WasmTask(module="m", args=["--form", "x"]))
    async with ap:
        await eventually(lambda: ap.runner.problem)
        assert "--form x has no {mac}" in ap.runner.problem
    ap.journal.close()

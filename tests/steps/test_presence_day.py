"""A day of 40 devices in the four set-ups: every arrival that can be known is announced, and nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent.executors import NoLog, WasmExecutor
from agent.executors.wasm.filter import line_numbers
from agent.model.event import Event, event_id
from agent.model.task import StepOutput, WasmTask
from tests.delivery.deciding import Clock, Council
from tests.delivery.events import event
from tests.steps.day import DAY, DOWN, HOUR, NOON, Day, Heard, SetUp, text


def _event(heard: Heard, set_up: SetUp, number: int) -> Event:
    line, node = heard.line, "hall"
    sender = access_point = f"10.0.0.{line.ap + 1}"
    if set_up == "two agents":
        node = sender = access_point = f"ap{line.ap + 1}"
    elif set_up == "file":
        sender, access_point = "hall", f"ap-{line.ap + 1}"
    data = {"mac": line.mac, "interface": line.interface, "sender": sender, "access_point": access_point}
    kind = "wifi.access_point.restarted" if line.kind == "restarted" else f"wifi.client.{line.kind}"
    return event(event_id(set_up, number), kind, node=node, time=f"t{line.at:.0f}", data=data)


async def announced(
    path: Path, clock: Clock, day: Day, set_up: SetUp, nodes: tuple[str, ...]
) -> list[tuple[float, str]]:
    """When which device is announced; the node that decides restarts at noon."""
    council = Council(path, clock)
    council.start(*nodes)
    begin, away = clock.now, ""
    work: dict[asyncio.Task[list[StepOutput]], float] = {}
    of: dict[str, asyncio.Task[list[StepOutput]]] = {}
    for number, heard in enumerate(day.heard(set_up)):
        if heard.read >= NOON and not away:
            away = council.decider()
            council.stop(away)
        if heard.read >= NOON + DOWN and away not in council.presence:
            council.start(away)
        await clock.pass_to(begin + heard.read)
        task = asyncio.create_task(council.see(_event(heard, set_up, number), begin + heard.at))
        work[task] = heard.at
        before, of[heard.line.mac] = of.get(heard.line.mac), task
        if before is None or before.done():  # else it waits for that one
            await clock.settled(task)
    await clock.pass_to(begin + 2 * DAY)
    made = [(at, output.data["device"]["mac"]) for task, at in work.items() for output in await task]
    council.close()
    return made


def faults(day: Day, set_up: SetUp, made: list[tuple[float, str]]) -> list[str]:
    """The false and the missed arrivals."""
    wrong, matched = [], set()
    for stay, must, may in day.truth(set_up):
        here = [x for x in made if x[1] == stay.mac and stay.start - 1 <= x[0] < stay.end]
        matched.update(here[:1] if may else [])
        if must and not here:
            wrong.append(f"missed {stay.mac} at {stay.start / HOUR:.2f} h")
    unheard = day.unheard(set_up)
    for at, mac in made:
        if (at, mac) not in matched and (at, mac) not in unheard:
            wrong.append(f"false {mac} at {at / HOUR:.2f} h")
    return wrong


@pytest.mark.parametrize("set_up", ["two agents", "udp", "tcp", "file"])
async def test_day_of_40_devices_has_no_false_or_missed_arrival(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, set_up: SetUp
) -> None:
    day = Day(40)
    nodes = ("ap1", "ap2", "hall") if set_up == "two agents" else ("hall", "gpu")
    made = await announced(tmp_path, Clock(monkeypatch), day, set_up, nodes)
    assert faults(day, set_up, made) == []
    assert len(made) > 55


async def test_filter_reads_the_lines_of_the_day(filters: Path, executor: WasmExecutor) -> None:
    lines = [x for x in Day(40).lines if x.kind in ("joined", "roamed", "left")]
    program = executor.filter(filters / "wifi-join.wasm", WasmTask(module="wifi-join"))
    try:
        log = "".join(f"{text(x)}\n" for x in lines).encode()
        found = await program.feed(log, NoLog())
    finally:
        await program.close()
    numbers = line_numbers(found, log)
    made = [(lines[n - 1], e.type, e.data["mac"], e.data["interface"]) for n, e in zip(numbers, found, strict=True)]
    assert made == [(x, f"wifi.client.{x.kind}", x.mac, x.interface) for x in lines]

"""wifi-join reports the right lines as events; its small version in Zig those of hostapd."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.executors import WasmExecutor
from agent.executors.wasm.filter import line_numbers
from agent.model.task import FilterRunner, WasmTask

HERE = Path(__file__).parent
LINES = HERE / "lines.jsonl"
MEASURED = sorted((HERE.parents[2] / "shared" / "data" / "ap-logs").glob("*.jsonl"))
SOURCES = [LINES, *MEASURED]
BOTH = pytest.mark.parametrize("name", ["wifi-join", "wifi-join-zig"])
JOIN = b"hostapd: wlan0: AP-STA-CONNECTED 02:1b:5c:00:00:01\n"


def load(path: Path) -> list[tuple[bytes, Any]]:
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    return [(e["line"].encode("utf-8", "surrogatepass") + b"\n", e["event"]) for e in entries]


def silent(_: str) -> None:
    return None


async def events_of(runner: FilterRunner, data: bytes) -> dict[int, Any]:
    found = await runner.feed(data, silent)
    numbers = line_numbers(found, data)
    assert len(set(numbers)) == len(found)
    assert all(e.line in (0, n) and (e.line or len(data) > 1 << 16) for n, e in zip(numbers, found, strict=True))
    return {n: {"type": e.type, **e.data} for n, e in zip(numbers, found, strict=True)}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
async def test_each_line_gives_the_event_beside_it(path: Path, open_filter: Callable[[str], FilterRunner]) -> None:
    entries = load(path)
    always = [(line, event) for line, event in entries if b"DHCPACK" not in line]
    found = await events_of(open_filter("wifi-join"), b"".join(line for line, _ in always))
    for number, (line, event) in enumerate(always, 1):
        got = found.get(number)
        assert (got is None) == (event is None), line
        assert not event or event.items() <= got.items(), line


async def test_the_zig_version_finds_the_same_lines_of_hostapd(open_filter: Callable[[str], FilterRunner]) -> None:
    lines = b"".join(line for line, _ in load(LINES))
    whole, small = (
        await events_of(open_filter("wifi-join"), lines),
        await events_of(open_filter("wifi-join-zig"), lines),
    )
    assert len(small) > 45
    assert small.items() <= whole.items()


@BOTH
async def test_the_engine_of_small_devices_finds_the_same(
    name: str, filters: Path, open_filter: Callable[[str], FilterRunner], small_executor: WasmExecutor
) -> None:
    lines = b"".join(line for line, _ in load(LINES) * 40)
    runner = small_executor.filter(filters / f"{name}.wasm", WasmTask(module=name))
    assert await events_of(runner, lines) == await events_of(open_filter(name), lines)


@BOTH
async def test_cuts_between_batches_do_not_change_the_events(
    name: str, open_filter: Callable[[str], FilterRunner]
) -> None:
    runner, lines = open_filter(name), [line for line, _ in load(LINES)] * 3
    random.Random(5).shuffle(lines)
    whole = await events_of(runner, b"".join(lines))
    for seed in range(6):
        rng = random.Random(seed)
        cuts = [0, *sorted(rng.sample(range(1, len(lines)), 9)), len(lines)]
        parts: dict[int, Any] = {}
        for start, end in pairwise(cuts):
            part = await events_of(runner, b"".join(lines[start:end]))
            parts |= {start + n: event for n, event in part.items()}
        assert parts == whole


@BOTH
async def test_a_megabyte_of_lines_is_numbered_to_the_end(
    name: str, open_filter: Callable[[str], FilterRunner]
) -> None:
    rng, lines = random.Random(1), []
    for _ in range(9_000):
        lines.append(b"x" * rng.randrange(200) + b"\n" if rng.random() < 0.99 else JOIN)
    found = await events_of(open_filter(name), b"".join(lines))
    assert list(found) == [n for n, line in enumerate(lines, 1) if line == JOIN]


@BOTH
@pytest.mark.parametrize("size", [1 << 16, (1 << 18) - 1, 1 << 18, (1 << 18) + 1, 5 << 16, 700_000, 2_000_000])
async def test_a_very_long_line_is_one_line_and_an_event_up_to_256_kib(
    name: str, size: int, open_filter: Callable[[str], FilterRunner]
) -> None:
    long = JOIN[:-1] + b" " + b"x" * (size - len(JOIN)) + b"\n"
    found = await events_of(open_filter(name), JOIN + long + JOIN + JOIN[:-1])
    assert list(found) == ([1, 2, 3, 4] if size <= 1 << 18 else [1, 3, 4])


async def test_bytes_that_are_not_utf8_come_out_as_valid_json(open_filter: Callable[[str], FilterRunner]) -> None:
    line = b"hostapd: wl\xff\xc3\xa4\xed\xa0\x80: AP-STA-CONNECTED 02:1b:5c:00:00:01 auth_alg=\x01\xe2\x82\n"
    found = await events_of(open_filter("wifi-join"), line)
    assert found[1]["interface"] == "wl\u00ff\u00e4\u00ed\u00a0\u0080"
    assert found[1]["auth"] == "\u0001\u00e2\u0082"


# ---- any bytes: the same C code, compiled natively with sanitizers, since native processes start fast

PIECES = [
    *(line for line, _ in load(LINES)),
    b"hostapd: ", b"wlan0: ", b"AP-STA-CONNECTED ", b"02:1b:5c:00:00:01", b"stahtd[1]: ", b'{"message_type":"STA_ASSOC_TRACKER",',
    b'"mac":"02:1b:5c:00:00:01"', b"}", b"\n", b"\\", b'"', b"\xff", b"\0", b"<30>", b"[", b"]",
    b"EVENT_STA_JOIN ", b"wevent: ", b"CEF:0|Ubiquiti|UniFi Network|9|400|WiFi Client Connected|1|", b"UNIFIclientMac=",
    b"@wlan1: connected", b"[client:a:", b"] is connected to [ap:b:c]", b" events type=association client_mac='",
    b"date=1 subtype=wireless action=client-authentication stamac=", b"WLAN-Ger\xe4t angemeldet, x, MAC ",
    b"%DOT11-6-ASSOC: Interface a1, Station b ", b"Mar  4 09:10:11 ", b"- - - ", b"aabbcc001122,U6: ",
]  # fmt: skip
BYTES = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=12)), max_size=12).map(b"".join)


def run_native(program: Path, data: bytes) -> list[Any]:
    done = subprocess.run([program], input=data, capture_output=True, check=False, timeout=20)
    assert done.returncode == 0
    return [json.loads(line) for line in done.stdout.splitlines()]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=BYTES, cut=st.integers(0, 400))
def test_any_bytes_and_cuts_between_lines_give_the_same_events(checked: Path, data: bytes, cut: int) -> None:
    events = run_native(checked, data)
    count = data.count(b"\n") + (not data.endswith(b"\n"))
    assert all(1 <= e["line"] <= count and e["type"].startswith("wifi.") for e in events)
    at = data.rfind(b"\n", 0, cut) + 1
    first, second = run_native(checked, data[:at]), run_native(checked, data[at:])
    lines = data[:at].count(b"\n")
    assert events == first + [e | {"line": e["line"] + lines, "at": e["at"] + at} for e in second]

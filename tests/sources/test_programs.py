"""journalctl and logread, replaced by programs with the same names and output."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from agent.errors import ConfigError
from agent.sources import MAX_LINE
from agent.sources.journald import JournaldSource
from agent.sources.logread import LogreadSource
from tests.sources.support import Collector
from tests.support import eventually

OPENWRT = [
    "Tue Mar  3 18:02:41 2026 daemon.notice hostapd: phy1-ap0: AP-STA-CONNECTED 02:1b:5c:00:00:01 auth_alg=open",
    "Tue Mar  3 18:02:42 2026 daemon.info dnsmasq-dhcp[1]: DHCPDISCOVER(br-lan) 02:1b:5c:00:00:01",
]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is first in PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    return folder


def install(folder: Path, name: str, script: str) -> None:
    program = folder / name
    program.write_text("#!/bin/sh\n" + script)
    program.chmod(0o755)


def entry(n: int, message: Any = None, **fields: Any) -> str:
    """A line of `journalctl -o json`."""
    return json.dumps(
        {
            "__CURSOR": f"s=0;i={n}",
            "__REALTIME_TIMESTAMP": str(1_772_561_000_000_000 + n * 1_000_000),
            "__MONOTONIC_TIMESTAMP": "1",
            "_BOOT_ID": "0",
            "_HOSTNAME": "ap",
            "SYSLOG_IDENTIFIER": "hostapd",
            "_PID": "611",
            "MESSAGE": f"line {n}" if message is None else message,
            **fields,
        }
    )


def install_journal(folder: Path, then: str = "exec sleep 1000") -> Path:
    """A journalctl that prints the entries of a file after the cursor, then does `then`; returns that file."""
    journal = folder / "journal"
    journal.touch()
    install(
        folder,
        "journalctl",
        f"""
echo "$*" >> {folder}/calls
after=
for a; do case "$a" in --after-cursor=*) after="${{a#*=}}";; --show-cursor) show=1;; esac; done
if [ "$show" ]; then tail -n 1 {journal} | sed -n 's/.*"__CURSOR": "\\([^"]*\\)".*/-- cursor: \\1/p'; exit; fi
if [ "$after" ]; then sed "0,/$after\\"/d" {journal}; else cat {journal}; fi
{then}
""",
    )
    return journal


async def test_the_journal_gives_lines_as_a_syslog_file_has_them(programs: Path) -> None:
    journal = install_journal(programs)
    journal.write_text(entry(1) + "\n")
    async with Collector(JournaldSource()) as reader:
        await reader.begun.wait()
        assert reader.position == {"journald": "s=0;i=1"}
    journal.write_text(
        "\n".join(
            [
                entry(1),
                entry(2, "phy1-ap0: AP-STA-CONNECTED 02:1b:5c:00:00:01"),
                entry(3, [110, 111, 0, 255], _HOSTNAME=None),
                entry(4, "two\nlines", SYSLOG_IDENTIFIER=None, _COMM="app", _PID=None),
                entry(5, None, SYSLOG_PID="7", SYSLOG_IDENTIFIER=["a", "b"]).replace('"line 5"', "null"),
            ]
        )
        + "\n"
    )
    async with Collector(JournaldSource(), reader.position) as reader:
        await eventually(lambda: len(reader.lines) == 4)
    assert reader.lines == [
        b"Mar  3 18:03:22 ap hostapd[611]: phy1-ap0: AP-STA-CONNECTED 02:1b:5c:00:00:01",
        b"Mar  3 18:03:23 localhost hostapd[611]: no\x00\xff",
        b"Mar  3 18:03:24 ap app: two#012lines",
        b"Mar  3 18:03:25 ap a[7]: ",
    ]
    assert reader.origins == [(f"s=0;i={n}", 0) for n in (2, 3, 4, 5)]
    assert reader.position == {"journald": "s=0;i=5"}


async def test_journalctl_restarts_after_the_last_entry(programs: Path) -> None:
    journal = install_journal(programs, then="echo 'it broke' >&2; exit 3")
    source = JournaldSource(backoff=0.01)
    async with Collector(source, {"journald": ""}) as reader:
        journal.write_text(entry(1) + "\n")
        await eventually(lambda: reader.lines and source.problem)
        assert source.problem == "journalctl ended with 3: it broke"
        with journal.open("a") as file:
            file.write(entry(2) + "\n" + entry(3)[:30])
        await eventually(lambda: len(reader.lines) == 2)
        with journal.open("a") as file:
            file.write(entry(3)[30:] + "\n")
        await eventually(lambda: len(reader.lines) == 3)
    assert [line.split()[-1] for line in reader.lines] == [b"1", b"2", b"3"]
    assert source.counters.restarts > 0
    assert "--after-cursor=s=0;i=2" in (programs / "calls").read_text()


async def test_invalid_entries_are_counted_and_long_entries_cut(programs: Path) -> None:
    journal = install_journal(programs)
    long = "x" * 1_000_000
    journal.write_text("\n".join(["junk", "[]", entry(1, long), "{}", entry(2)]) + "\n")
    source = JournaldSource()
    async with Collector(source, {"journald": ""}) as reader:
        await eventually(lambda: len(reader.lines) == 2)
    assert len(reader.lines[0]) == MAX_LINE
    assert source.counters.cut == 1
    assert source.counters.dropped == {"malformed": 3}


async def test_a_position_of_a_file_is_no_position_in_the_journal(programs: Path) -> None:
    install_journal(programs)
    with pytest.raises(ConfigError):
        await anext(JournaldSource().batches({"file": {}}))


@pytest.mark.skipif(not shutil.which("journalctl"), reason="no journalctl here")
async def test_the_real_journalctl_takes_our_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    source = JournaldSource()
    async with Collector(source) as reader:
        await reader.begun.wait()
    assert set(reader.position or {}) == {"journald"}
    assert source.problem == ""


async def test_logread_lines_come_as_they_are(programs: Path) -> None:
    install(programs, "logread", f"cat {programs}/log; exec sleep 1000")
    (programs / "log").write_text("\n".join(OPENWRT) + "\nunfinished")
    async with Collector(LogreadSource()) as reader:
        await eventually(lambda: len(reader.lines) == 2)
    assert reader.lines == [line.encode() for line in OPENWRT]
    assert [offset for _, offset in reader.origins] == [0, len(OPENWRT[0]) + 1]
    assert reader.position is None


async def test_a_logread_that_ends_is_started_again_with_new_ids(programs: Path) -> None:
    install(programs, "logread", "echo line; exit 1")
    source = LogreadSource(backoff=0.01)
    async with Collector(source) as reader:
        await eventually(lambda: len(reader.lines) >= 3)
    assert set(reader.lines) == {b"line"}
    assert len(set(reader.origins)) == len(reader.origins)
    assert source.counters.gaps >= 2


async def test_a_program_that_is_not_there_is_an_error_with_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for source in (JournaldSource(), LogreadSource()):
        with pytest.raises(ConfigError) as caught:
            await anext(source.batches(None))
        assert caught.value.hint


async def test_stopping_leaves_no_process(programs: Path) -> None:
    install(programs, "logread", f"echo $$ > {programs}/pid; echo line; exec sleep 1000")
    async with Collector(LogreadSource()) as reader:
        await eventually(lambda: reader.lines)
    pid = int((programs / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists()


async def test_a_program_that_complains_without_end_does_no_harm(programs: Path) -> None:
    install(programs, "logread", "head -c 3000000 /dev/zero | tr '\\0' e >&2; echo line; exec sleep 1000")
    async with Collector(LogreadSource()) as reader:
        await eventually(lambda: reader.lines == [b"line"])

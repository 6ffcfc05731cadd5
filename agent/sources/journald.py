"""systemd's journal as a source of lines, through `journalctl`.

Source of the format: systemd's "Journal Export Formats", JSON: one object per line, every field a string, or numbers of
bytes where it is not UTF-8, or a list of these where a field occurs more than once.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from agent.environment import child_environment
from agent.errors import ConfigError
from agent.sources.batch import MAX_BATCH, MAX_LINE, Batch, Counters, Position, SenderCount
from agent.sources.log_program import LogProgram, find_program, stop
from agent.sources.syslog_form import one_line, stamp

logger = logging.getLogger(__name__)

PROGRAM = "journalctl"
_FIELDS = "MESSAGE,SYSLOG_IDENTIFIER,SYSLOG_PID,_PID,_COMM,_HOSTNAME"
_CURSOR = re.compile(rb"^-- cursor: (\S+)$", re.MULTILINE)
_MOST_ENTRY = 4 * MAX_BATCH
"""Longest entry in bytes: text that is not UTF-8 takes four bytes for one."""


class Entry(msgspec.Struct):
    """The fields of an entry that become a line."""

    cursor: str = msgspec.field(name="__CURSOR")
    microseconds: str = msgspec.field(name="__REALTIME_TIMESTAMP", default="0")
    message: Any = msgspec.field(name="MESSAGE", default=None)
    identifier: Any = msgspec.field(name="SYSLOG_IDENTIFIER", default=None)
    command: Any = msgspec.field(name="_COMM", default=None)
    syslog_pid: Any = msgspec.field(name="SYSLOG_PID", default=None)
    pid: Any = msgspec.field(name="_PID", default=None)
    host: Any = msgspec.field(name="_HOSTNAME", default=None)

    def line(self) -> bytes:
        """The entry as a line of a syslog file; raises ValueError for an invalid time."""
        tag = _text(self.identifier) or _text(self.command) or b"unknown"
        pid = _text(self.syslog_pid) or _text(self.pid)
        head = b"%s %s %s" % (stamp(int(self.microseconds) / 1e6), _text(self.host) or b"localhost", tag)
        return one_line(head + (b"[%s]: " % pid if pid else b": ") + _text(self.message))


_DECODER = msgspec.json.Decoder(Entry)


class JournaldSource:
    """The journal's new entries, resumed by cursor; event ids are made of the cursor, too."""

    name = "journald"

    def __init__(self, *, backoff: float = 1.0) -> None:
        self.counters = Counters()
        self._program = LogProgram(PROGRAM, self.counters, backoff)
        self._cursor = ""

    @property
    def problem(self) -> str:
        """See LineSource."""
        return self._program.problem

    def senders(self) -> list[SenderCount]:
        """See LineSource."""
        return []

    async def batches(self, position: Position | None) -> AsyncIterator[Batch]:
        """Entries after `position`, by default new entries; raises ConfigError without journalctl."""
        if position is not None and not isinstance(position.get("journald"), str):
            raise ConfigError(
                "the saved position is not a position in the journal", hint="rename the step, or reset it"
            )
        if position is None:
            self._cursor = await _now()
            yield Batch("", 0, b"", {"journald": self._cursor})
        else:
            self._cursor = position["journald"]
        rest = b""
        async for block in self._program.blocks(self._arguments):
            if not block:
                # The rest of an entry comes again: the next start begins after the last whole entry.
                rest = b""
                continue
            *entries, rest = (rest + block).split(b"\n")
            if len(rest) > _MOST_ENTRY:
                rest = b""
                self._drop("too long")
            if (batch := self._batch(entries)) is not None:
                yield batch

    def _arguments(self) -> list[str]:
        arguments = ["--follow", "--output=json", f"--output-fields={_FIELDS}", "--all", "--no-pager", "--quiet"]
        if self._cursor:
            return [*arguments, "--no-tail", f"--after-cursor={self._cursor}"]
        return [*arguments, "--no-tail"]

    def _batch(self, entries: list[bytes]) -> Batch | None:
        lines: list[bytes] = []
        cursors: list[str] = []
        for raw in entries:
            if not raw:
                continue
            try:
                entry = _DECODER.decode(raw)
                line = entry.line()
            except (msgspec.DecodeError, ValueError):
                self._drop("malformed")
                continue
            if len(line) > MAX_LINE:
                line = line[:MAX_LINE]
                self.counters.cut += 1
            lines.append(line + b"\n")
            cursors.append(entry.cursor)
        if not lines:
            return None
        self._cursor = cursors[-1]
        data = b"".join(lines)
        self.counters.lines += len(lines)
        self.counters.bytes += len(data)
        batch = Batch("journald", 0, data, {"journald": self._cursor}, origins=cursors)
        batch.max_age = math.inf  # its lines have this node's clock
        return batch

    def _drop(self, reason: str) -> None:
        if self.counters.drop(reason):
            logger.warning("journald: an entry is %s and is skipped; more of these are only counted", reason)


async def _now() -> str:
    """The cursor of the journal's end; empty where the journal is empty or does not say."""
    process = await asyncio.create_subprocess_exec(
        find_program(PROGRAM),
        *("--lines=0", "--show-cursor", "--no-pager", "--quiet"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=child_environment(),
    )
    try:
        printed, _ = await process.communicate()
    finally:
        await stop(process)
    match = _CURSOR.search(printed)
    return match[1].decode(errors="replace") if match else ""


def _text(value: Any) -> bytes:
    match value:
        case str():
            return value.encode(errors="surrogatepass")
        case [int(), *_]:
            return bytes(b & 255 for b in value if isinstance(b, int))
        case [first, *_]:
            return _text(first)
        case _:
            return b""

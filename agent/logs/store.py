"""The store of the logs of steps: bounded files, written a second after the lines, and the newest lines in memory.

A program is never slowed down: lines that the disk does not take in time are lost, counted and reported.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from pathlib import Path
from weakref import WeakSet

from agent.logs.files import OLDER, SUFFIX, append, encoded, execution_of, files_of, last_number
from agent.logs.wire import LogLine
from agent.model.event import now
from agent.model.task import StepLog, Stream
from agent.threads import in_thread

log = logging.getLogger(__name__)

MAX_EXECUTION = 4 << 20
"""Most bytes of one execution: its older half goes first."""
MAX_EXECUTIONS = 50
"""Executions of a step that are kept."""
MAX_LINE = 4096
"""Most characters of a line; the rest is cut off."""
PENDING = 1 << 20
"""Most bytes of a step that wait for the disk; further lines are lost."""
RECENT = 1000
RECENT_CHARACTERS = 256 << 10
"""Lines of a step, and characters of them, that stay in memory for readers who follow."""
WRITE_EVERY = 1.0
"""Seconds between two writes: a flash disk must not be written for every line."""

Key = tuple[str, str]
"""Pipeline and step."""
Hear = Callable[[str, str, str], None]


@dataclass(eq=False)
class _Step:
    """The log of one step: its numbers, its newest lines, and the lines that are not on the disk yet."""

    pipeline: str
    step: str
    folder: Path
    n: int
    newest: str = ""
    open: WeakSet[_Execution] = field(default_factory=WeakSet)
    recent: deque[LogLine] = field(default_factory=deque)
    recent_characters: int = 0
    pending: list[tuple[str, bytes]] = field(default_factory=list)
    pending_bytes: int = 0


class LogStore:
    """The logs of all steps of this node, in `folder` (0700), at most `size` bytes. Use it on the event loop."""

    def __init__(self, folder: Path, size: int, *, hear: Hear = lambda *_: None) -> None:
        """`hear` gets (pipeline, step, text) of each line."""
        self.folder = folder
        self.size = size
        self.lost = 0
        """Lines that were lost since the start, because memory had no room or the disk could not be written."""
        self.bytes = 0
        """Bytes on the disk, as of the last write."""
        self._hear = hear
        self._steps: dict[Key, _Step] = {}
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._some = asyncio.Event()
        self._writing = asyncio.Lock()
        self._failing = False
        self._recount = True
        """Whether `bytes` or the list of files may have changed in another way than by lines at the end of known files."""

    # -- writing ------------------------------------------------------------------------------------------------------

    def of(self, pipeline: str, version: str, step: str) -> StepLog:
        """The log of a step."""
        return _OneStep(self, pipeline, step)

    def begin(self, pipeline: str, step: str) -> StepLog:
        """The log of a new execution of the step."""
        it = self._step(pipeline, step)
        it.newest = f"{it.n + 1:012d}-{os.urandom(4).hex()}"
        made = _Execution(self, pipeline, step, it.newest)
        it.open.add(made)
        return made

    def line(self, pipeline: str, step: str, text: str, stream: Stream, event: str, execution: str = "") -> None:
        """Keep one line of the execution, by default of the one that began last."""
        it = self._step(pipeline, step)
        if not (execution or it.newest):
            self.begin(pipeline, step)
        it.n += 1
        line = LogLine(
            step, it.n, now(), stream, text[:MAX_LINE].encode(errors="replace").decode(), event, execution or it.newest
        )
        self._remember(it, line)
        data = encoded(line)
        if it.pending_bytes + len(data) > PENDING:
            self.lost += 1
        else:
            it.pending.append((line.execution, data))
            it.pending_bytes += len(data)
        self._some.set()
        for changed in self._waiting.get(pipeline, ()):
            changed.set()
        self._hear(pipeline, step, text)

    def _remember(self, it: _Step, line: LogLine) -> None:
        it.recent.append(line)
        it.recent_characters += len(line.text)
        while len(it.recent) > RECENT or it.recent_characters > RECENT_CHARACTERS:
            it.recent_characters -= len(it.recent.popleft().text)

    def _find(self, pipeline: str, step: str) -> _Step | None:
        """The step's log, if it has one."""
        known = (pipeline, step) in self._steps or (self.folder / pipeline / step).is_dir()
        return self._step(pipeline, step) if known else None

    def _step(self, pipeline: str, step: str) -> _Step:
        it = self._steps.get((pipeline, step))
        if it is None:
            folder = self.folder / pipeline / step
            try:
                last = last_number(folder)
            except OSError as e:
                log.warning("the log of %s/%s cannot be read: %s", pipeline, step, e)
                last = 0
            it = self._steps[pipeline, step] = _Step(pipeline, step, folder, last)
        return it

    async def run(self) -> None:
        """Write the lines a second after they came, until cancelled; then write the rest."""
        try:
            await self.write()
            while True:
                await self._some.wait()
                self._some.clear()
                await asyncio.sleep(WRITE_EVERY)
                await self.write()
        finally:
            await self.write()

    async def write(self) -> None:
        """Write the pending lines and keep to the bounds; a write that is under way is waited for."""
        async with self._writing:
            if (taken := self._taken()) or self._recount:
                await in_thread(partial(self._write, taken, self._open()))

    def _taken(self) -> list[tuple[_Step, list[tuple[str, bytes]]]]:
        taken = []
        for it in self._steps.values():
            if it.pending:
                taken.append((it, it.pending))
                it.pending, it.pending_bytes = [], 0
        return taken

    def _open(self) -> set[str]:
        """The executions that may go on."""
        return {e for it in self._steps.values() for e in (it.newest, *(log.execution for log in it.open))}

    def _write(self, taken: list[tuple[_Step, list[tuple[str, bytes]]]], current: set[str]) -> None:
        for it, pending in taken:
            try:
                for execution in dict.fromkeys(e for e, _ in pending):
                    self._append(it, execution, b"".join(data for e, data in pending if e == execution))
                self._failing = False
            except OSError as e:
                self.lost += len(pending)
                self._recount = True
                if not self._failing:
                    log.warning("log lines of steps are lost: %s", e)
                self._failing = True
        if self._recount or self.bytes > self.size:
            self._recount = False
            try:
                self._prune(current)
            except OSError as e:
                log.warning("old logs of steps cannot be deleted: %s", e)

    def _append(self, it: _Step, execution: str, data: bytes) -> None:
        path = it.folder / f"{execution}{SUFFIX}"
        size = path.stat().st_size if path.exists() else 0
        if size and size + len(data) > MAX_EXECUTION // 2:
            path.replace(path.with_name(path.name + OLDER))
            size = 0
        self._recount = self._recount or not size
        self.bytes += append(path, data)

    # -- bounds -------------------------------------------------------------------------------------------------------

    def _prune(self, current: set[str]) -> None:
        """Delete the oldest files until the bounds hold; `current` executions go on and lose their older halves last."""
        kept: list[tuple[Path, int, float]] = []
        for folder in self._folders():
            files = files_of(folder)
            executions = list(dict.fromkeys(execution_of(p) for p in files))
            gone = set(executions[: max(0, len(executions) - MAX_EXECUTIONS)]) - current
            for path in files:
                if execution_of(path) in gone:
                    path.unlink(missing_ok=True)
                elif (info := _stat(path)) is not None:
                    kept.append((path, info.st_size, info.st_mtime))
        self.bytes = sum(size for _, size, _ in kept)
        kept.sort(key=lambda file: (execution_of(file[0]) in current, not file[0].name.endswith(OLDER), file[2]))
        for path, size, _ in kept:
            if self.bytes <= self.size:
                break
            path.unlink(missing_ok=True)
            self.bytes -= size

    def _folders(self) -> list[Path]:
        return [p for p in self.folder.glob("*/*") if p.is_dir()]

    def forget(self, pipelines: set[str]) -> None:
        """Delete the logs of all pipelines but these; the log of a pipeline that was removed is of no use any more."""
        for folder in self.folder.iterdir() if self.folder.is_dir() else ():
            if folder.name not in pipelines:
                shutil.rmtree(folder, ignore_errors=True)
                self._recount = True
        for (pipeline, step), it in list(self._steps.items()):
            if pipeline in pipelines:
                continue
            if it.open:  # its numbers go on: the name of a file has the first of its lines
                self._steps[pipeline, step] = _Step(pipeline, step, it.folder, it.n, it.newest, it.open)
            else:
                del self._steps[pipeline, step]

    # -- reading ------------------------------------------------------------------------------------------------------

    def steps(self, pipeline: str) -> list[str]:
        """The steps of the pipeline that have a log here."""
        folder = self.folder / pipeline
        stored = [p.name for p in folder.iterdir() if p.is_dir()] if folder.is_dir() else []
        return sorted({*stored, *(s for p, s in self._steps if p == pipeline)})

    def last(self, pipeline: str, step: str) -> int:
        """The number of the step's newest line; 0 before its first line."""
        it = self._find(pipeline, step)
        return it.n if it is not None else 0

    def recent(self, pipeline: str, step: str, after: int) -> list[LogLine]:
        """The lines after the number `after` that are in memory, oldest first."""
        it = self._find(pipeline, step)
        newest_first = takewhile(lambda line: line.n > after, reversed(it.recent)) if it is not None else ()
        return list(newest_first)[::-1]

    @contextmanager
    def waiting(self, pipeline: str) -> Iterator[asyncio.Event]:
        """An event that each line of the pipeline sets, within the block."""
        changed = asyncio.Event()
        self._waiting.setdefault(pipeline, set()).add(changed)
        try:
            yield changed
        finally:
            self._waiting[pipeline].discard(changed)
            if not self._waiting[pipeline]:
                del self._waiting[pipeline]


def _stat(path: Path) -> os.stat_result | None:
    """None where it is gone: `forget` may delete it at the same time."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


class _OneStep:
    """The StepLog of a step."""

    def __init__(self, store: LogStore, pipeline: str, step: str) -> None:
        self._store = store
        self._pipeline = pipeline
        self._step = step

    def begin(self) -> StepLog:
        """See StepLog."""
        return self._store.begin(self._pipeline, self._step)

    def line(self, text: str, /, stream: Stream = "stderr", event: str = "") -> None:
        """See StepLog."""
        self._store.line(self._pipeline, self._step, text, stream, event)


class _Execution(_OneStep):
    """The StepLog of one execution, which goes on for as long as this object is used."""

    def __init__(self, store: LogStore, pipeline: str, step: str, execution: str) -> None:
        super().__init__(store, pipeline, step)
        self.execution = execution

    def line(self, text: str, /, stream: Stream = "stderr", event: str = "") -> None:
        """See StepLog."""
        self._store.line(self._pipeline, self._step, text, stream, event, self.execution)

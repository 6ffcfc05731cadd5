"""Stores of logs for tests."""

from __future__ import annotations

from pathlib import Path

from agent.logs import LogLine, LogStore, Reader, ReadRequest

SIZE = 64 << 20


def opened(folder: Path, size: int = SIZE) -> LogStore:
    return LogStore(folder, size)


async def read(store: LogStore, **asked: object) -> list[LogLine]:
    request = ReadRequest("p", "s", **asked)  # type: ignore[arg-type]
    return (await Reader(store).read(request)).lines


def on_disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

"""From a program's answer to step outputs: open the files that it names, then store them as blobs."""

from __future__ import annotations

import os
from pathlib import Path

from agent.errors import BlobError
from agent.executors.contract import OUTPUTS, CheckedEvent, ReplyBlob, broken
from agent.executors.folders import measure, open_output, outputs_failure
from agent.model.event import BlobRef
from agent.model.task import BlobWriter, Limits, StepOutput


class OutputFiles:
    """The files of one answer, opened at once so that the program may go on with its next event.

    Use as a context manager: it closes what it opened.
    """

    def __init__(self, given: list[BlobRef]) -> None:
        self._events: list[CheckedEvent] = []
        self._given = {b.cid: b for b in given}
        self._fds: dict[str, int] = {}
        self._stored: dict[str, tuple[str, int]] = {}

    def open(self, events: list[CheckedEvent], folder: Path, limits: Limits, kind: str) -> None:
        """Open every named file below `folder`; raises StepFailed on a limit, a link, a missing file. Blocks."""
        self._events = events
        if overrun := measure(folder, max_bytes=limits.outputs, max_files=limits.files, ended=True):
            raise outputs_failure(overrun, kind)
        for blob in (b for e in self._events for b in e.blobs if not b.cid):
            name = _file_of(blob, folder)
            if name not in self._fds:
                self._fds[name] = open_output(folder, name)

    async def store(self, folder: Path, blobs: BlobWriter, limits: Limits) -> list[StepOutput]:
        """Store the opened files; returns the outputs with every blob's cid, type and size."""
        left = limits.outputs
        for name, fd in self._fds.items():
            try:
                cid, size = await blobs.put_fd(fd, limit=left)
            except BlobError as e:
                raise broken(
                    f"the output {name!r} was not stored: {e.message}", code="step.outputs", hint=e.hint
                ) from e
            left -= size
            self._stored[name] = (cid, size)
        return [StepOutput(e.type, e.data, [self._ref(b, folder) for b in e.blobs]) for e in self._events]

    def _ref(self, blob: ReplyBlob, folder: Path) -> BlobRef:
        if blob.cid:
            given = self._given.get(blob.cid)
            if given is None:
                raise broken(f"the answer passes on the blob {blob.cid[:80]!r}, which its event does not have")
            return BlobRef(blob.name or given.name, given.cid, given.type, given.size)
        name = _file_of(blob, folder)
        cid, size = self._stored[name]
        return BlobRef(Path(blob.name or name).name, cid, blob.type or "application/octet-stream", size)

    def __enter__(self) -> OutputFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the open files."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()


def _file_of(blob: ReplyBlob, folder: Path) -> str:
    """The file's name below the outputs folder: `path` (as the program sees it) or else `name`."""
    name = blob.path or blob.name
    for prefix in (OUTPUTS, f"{folder}/"):
        if name.startswith(prefix):
            return name[len(prefix) :]
    return name

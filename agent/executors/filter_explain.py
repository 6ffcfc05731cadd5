"""`filter try`: what a source filter makes of each line: its parts, the form that matched, the event or why there is none.

A filter that knows the argument `--explain` writes one JSON object for every line (docs/step-contract.md). Of any other
filter only the events are known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from agent.errors import StepFailed
from agent.executors.log_lines import NoLog
from agent.executors.wasm.filter import WasmFilter, line_numbers
from agent.model.decoding import DAMAGED

BATCH = 1 << 18
"""Bytes of one batch, but for one longer line: an explanation is longer than its line."""
LONGEST = 1 << 18
"""Longest line that a filter explains (EDGE_LINE_MAX of edge.h)."""
EXPLAIN = "--explain"
SKIPPED = "the filter skips such a line: it is too long"
OpenFilter = Callable[[list[str]], WasmFilter]
"""Opens the filter with these arguments."""


class FoundEvent(msgspec.Struct, omit_defaults=True):
    """The event of a line, as the filter names it."""

    type: str
    data: dict[str, Any] = {}
    access_point: str = ""


class ExplainedLine(msgspec.Struct):
    """A line of the input, counted from 1: its parts by name, the form that matched, and the event or why there is none."""

    line: int
    split: dict[str, str]
    form: str = ""
    reason: str = ""
    event: FoundEvent | None = None
    text: str = ""


class Explanation(msgspec.Struct):
    """All lines; `explained` is False where the filter does not know `--explain`, so that only its events are known."""

    explained: bool
    lines: list[ExplainedLine]


class _NotExplained(Exception):
    """The filter's output is not one explanation a line."""


async def explain_lines(open_filter: OpenFilter, arguments: list[str], data: bytes) -> Explanation:
    """Run the filter on `data` with `--explain`, or without it where the filter does not know it.

    Raises StepFailed where the filter fails without it, too: its arguments are wrong, say.
    """
    lines = data.removesuffix(b"\n").split(b"\n") if data else []
    try:
        found = await _explained(open_filter([*arguments, EXPLAIN]), lines)
    except (StepFailed, _NotExplained):
        return Explanation(False, await _events(open_filter(arguments), lines))
    return Explanation(True, found)


async def _explained(runner: WasmFilter, lines: list[bytes]) -> list[ExplainedLine]:
    found: list[ExplainedLine] = []
    for batch in _batches(lines):
        stdout = await runner.output(b"\n".join(batch) + b"\n", NoLog())
        try:
            answers = msgspec.json.Decoder(ExplainedLine).decode_lines(stdout)
        except DAMAGED as e:
            raise _NotExplained from e
        by_line = {answer.line: answer for answer in answers}
        if not by_line.keys() <= set(range(1, len(batch) + 1)) or len(by_line) != len(answers):
            raise _NotExplained
        if not answers and any(len(raw) <= LONGEST for raw in batch):
            raise _NotExplained
        for number, raw in enumerate(batch, 1):
            answer = by_line.get(number) or ExplainedLine(0, {}, reason=SKIPPED)
            answer.line, answer.text = len(found) + 1, _text(raw)
            found.append(answer)
    return found


async def _events(runner: WasmFilter, lines: list[bytes]) -> list[ExplainedLine]:
    """The lines with their first event, without parts and reasons."""
    found: list[ExplainedLine] = []
    for batch in _batches(lines):
        raw = b"\n".join(batch) + b"\n"
        answers = await runner.feed(raw, NoLog())
        events: dict[int, FoundEvent] = {}
        for number, event in zip(line_numbers(answers, raw), answers, strict=True):
            events.setdefault(number, FoundEvent(event.type, event.data, event.access_point))
        for number, line in enumerate(batch, 1):
            found.append(ExplainedLine(len(found) + 1, {}, event=events.get(number), text=_text(line)))
    return found


def _batches(lines: list[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for line in lines:
        if batch and size + len(line) > BATCH:
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += len(line) + 1
    if batch:
        yield batch


def _text(raw: bytes) -> str:
    return raw.removesuffix(b"\r").decode(errors="replace")

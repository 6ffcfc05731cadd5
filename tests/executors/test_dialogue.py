"""A warm program's lines: its answers, the ready line, and lines that are neither."""

from __future__ import annotations

import asyncio

import pytest

from agent.executors.dialogue import Dialogue
from agent.model.task import MIB, Limits
from tests.executors.conftest import Lines

READY = b'{"ready": true}\n'


class Searched(bytearray):
    """Counts the bytes that are searched."""

    total = 0

    def find(self, sub: bytes, start: int = 0) -> int:  # type: ignore[override]
        self.total += len(self) - start
        return super().find(sub, start)


@pytest.fixture
def dialogue(log: Lines) -> Dialogue:
    return Dialogue("process", Limits(timeout=30.0), log, 30.0)


async def ask(dialogue: Dialogue, reply: bytes) -> bytes:
    """The answer of a program that writes `reply` for an event."""

    async def write(data: bytes) -> None:
        dialogue.stdout(reply)

    return await dialogue.ask(write, b"an event", "e1")


async def test_an_answer_with_a_ready_key_is_an_answer(dialogue: Dialogue) -> None:
    answer = b'{"id":"e1","events":[],"ready":true}'
    assert await ask(dialogue, answer + b"\n") == answer


@pytest.mark.parametrize(
    "line", [b"[" * 200_000, b'{"ready":true,"x":' + b"[" * 200_000, b'{"\xff": 1}'], ids=["deep", "key", "text"]
)
async def test_any_line_before_the_first_answer_is_an_answer(dialogue: Dialogue, line: bytes) -> None:
    assert await ask(dialogue, line + b"\n") == line


async def test_only_the_first_line_out_of_step_is_noted(dialogue: Dialogue, log: Lines) -> None:
    dialogue.stdout(READY + b"one\ntwo\nthree")
    assert log.agent == ["the program wrote to stdout without being asked: one"]
    assert dialogue.broken is not None
    assert dialogue.over.is_set()


async def test_a_line_in_pieces_is_searched_once(dialogue: Dialogue) -> None:
    dialogue._buffer = searched = Searched()
    answer = b"x" * (MIB // 2)

    async def write(data: bytes) -> None:
        for n in range(0, len(answer), 64):
            dialogue.stdout(answer[n : n + 64])
        dialogue.stdout(b"\n")

    async with asyncio.timeout(60):
        assert await dialogue.ask(write, b"an event", "e1") == answer
    assert searched.total <= len(answer) + 1

"""Messages between the agent and its worker processes, from both sides."""

from __future__ import annotations

import asyncio
import os
import socket
import threading

import pytest

from agent import worker
from agent.children import Child, TooLarge


@pytest.fixture
def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair()


async def child_of(link: socket.socket) -> Child:
    """A child whose worker's end is held by the test."""
    process = await asyncio.create_subprocess_exec("sleep", "100", start_new_session=True)
    return Child(process, *await asyncio.open_connection(sock=link))


async def test_a_large_message_goes_there_and_back(pair: tuple[socket.socket, socket.socket]) -> None:
    mine, its = pair
    child = await child_of(mine)

    def echo() -> None:
        with its:
            while (message := worker.receive(its)) is not None:
                worker.send(its, bytes(message))

    thread = threading.Thread(target=echo)
    thread.start()
    for message in (b"", b"x", bytes(range(256)) * 20_000):
        assert child.alive
        assert await child.ask(message) == message
    await child.close()
    thread.join()
    assert not child.alive


def test_a_worker_refuses_a_message_beyond_the_limit(pair: tuple[socket.socket, socket.socket]) -> None:
    mine, its = pair
    with mine, its:
        mine.sendall(worker.HEADER.pack(worker.MAX_MESSAGE + 1))
        with pytest.raises(ValueError, match="bytes"):
            worker.receive(its)


@pytest.mark.parametrize("sent", [b"", b"\0\0", b"\0\0\0\x09short", b"\0\0\0\x05whole"])
def test_a_worker_ends_with_its_parents_socket(pair: tuple[socket.socket, socket.socket], sent: bytes) -> None:
    mine, its = pair
    with its:
        with mine:
            mine.sendall(sent)
        assert worker.receive(its) is None


async def test_a_parent_refuses_an_answer_beyond_the_limit(pair: tuple[socket.socket, socket.socket]) -> None:
    mine, its = pair
    child = await child_of(mine)
    with its:
        its.sendall(worker.HEADER.pack(worker.MAX_MESSAGE + 1))
        with pytest.raises(TooLarge):
            await child.ask(b"x")
        await child.close()


async def test_a_worker_that_ends_is_noticed(pair: tuple[socket.socket, socket.socket]) -> None:
    mine, its = pair
    child = await child_of(mine)
    its.close()
    assert not child.alive
    with pytest.raises((OSError, EOFError)):
        await child.ask(b"x")
    await child.close()


async def test_a_second_close_signals_no_process_group(monkeypatch: pytest.MonkeyPatch) -> None:
    child = await Child.start("agent.executors.wasm.child", "wasm-child", "serve", "wasmtime")
    groups: list[int] = []
    kill = os.killpg
    monkeypatch.setattr(os, "killpg", lambda group, number: (groups.append(group), kill(group, number)))
    await child.close()
    await child.close()
    assert len(groups) == 1

"""Errors of the system in words."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from agent.errors import in_words


async def test_a_refused_connection_has_the_words_of_the_system(unused_tcp_port: int) -> None:
    with pytest.raises(OSError, match="Connect call failed") as caught:
        await asyncio.open_connection("127.0.0.1", unused_tcp_port)
    assert in_words(caught.value) == "Connection refused"


def test_several_addresses_of_a_name_are_one_reason() -> None:
    tried = "[Errno 111] Connect call failed ('::1', 1), [Errno 111] Connect call failed ('127.0.0.1', 1)"
    assert in_words(OSError(f"Multiple exceptions: {tried}")) == os.strerror(111)


def test_a_file_is_named_only_where_asked(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        (tmp_path / "none").read_bytes()
    assert in_words(caught.value) == os.strerror(errno.ENOENT)
    assert in_words(caught.value, file=True) == f"{tmp_path}/none: {os.strerror(errno.ENOENT)}"


def test_an_error_without_a_text_has_words() -> None:
    assert in_words(TimeoutError()) == "no answer in time"
    assert in_words(ValueError("no pin")) == "no pin"
    assert in_words(EOFError()) == "EOFError"

"""Messages to systemd (agent/service_manager.py), to a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.service_manager import MAX_STATUS, ServiceManager


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A manager's socket and its address as NOTIFY_SOCKET has it."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@edge-agent-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        sock.settimeout(10)
        yield sock, address


def test_each_message_has_the_form_of_sd_notify(listener: tuple[socket.socket, str]) -> None:
    sock, address = listener
    manager = ServiceManager.take({"NOTIFY_SOCKET": address})
    manager.status("starts")
    manager.ready()
    manager.alive()
    manager.reloading()
    manager.stopping()
    told = [sock.recv(1000).decode() for _ in range(5)]
    assert told[:3] == ["STATUS=starts", "READY=1", "WATCHDOG=1"]
    kind, _, at = told[3].partition("\n")
    assert kind == "RELOADING=1"
    assert at.removeprefix("MONOTONIC_USEC=").isdecimal()
    assert told[4] == "STOPPING=1"


def test_a_status_is_one_bounded_line_and_is_sent_once(listener: tuple[socket.socket, str]) -> None:
    sock, address = listener
    manager = ServiceManager(address)
    for text in ("a\nREADY=1", "a READY=1", "x" * 5000):
        manager.status(text)
    assert sock.recv(1000) == b"STATUS=a READY=1"
    assert sock.recv(1000) == b"STATUS=" + b"x" * MAX_STATUS


def test_the_variables_are_taken_so_that_children_do_not_speak() -> None:
    environ = {"NOTIFY_SOCKET": "/x", "WATCHDOG_PID": str(os.getpid()), "WATCHDOG_USEC": "3000000", "HOME": "/"}
    assert ServiceManager.take(environ).watchdog == 3.0
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize(
    "environ",
    [
        {"WATCHDOG_USEC": "3000000"},
        {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "often"},
        {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"},
    ],
)
def test_a_watchdog_of_another_process_or_without_number_is_none(environ: dict[str, str]) -> None:
    assert ServiceManager.take(environ).watchdog == 0


def test_without_a_listener_nothing_is_sent(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    ServiceManager.take({}).ready()
    ServiceManager.take({"NOTIFY_SOCKET": "vsock:1:2"}).ready()
    assert not caplog.records
    ServiceManager(str(tmp_path / "gone")).ready()
    assert "did not take READY=1" in caplog.text

"""The detection of hosts, from folders that look like them."""

from __future__ import annotations

import platform
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.model.labels import check_label
from agent.platforms import architecture, detect


@pytest.mark.parametrize(
    ("machine", "bits", "name", "engine"),
    [
        ("armv7l", 32, "armv7", "wasm3"),
        ("armv8l", 32, "armv7", "wasm3"),
        ("aarch64", 32, "armv7", "wasm3"),
        ("aarch64", 64, "aarch64", "wasmtime"),
        ("arm64", 64, "aarch64", "wasmtime"),
        ("x86_64", 64, "x86_64", "wasmtime"),
        ("AMD64", 64, "x86_64", "wasmtime"),
        ("riscv64", 64, "riscv64", "wasm3"),
    ],
)
def test_each_architecture_has_its_engine(machine: str, bits: int, name: str, engine: str) -> None:
    found = architecture(machine, bits)
    assert (found.name, found.engine) == (name, engine)


def host(root: Path, *files: str) -> Path:
    """Make empty files (folders where the name ends in /) under `root`."""
    for file in files:
        path = root / file
        if file.endswith("/"):
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return root


def test_openwrt_logs_to_ram_and_keeps_its_keys_in_etc(tmp_path: Path) -> None:
    root = host(tmp_path, "etc/openwrt_release", "sbin/logread", "etc/config/wireless", "var/log/messages")
    found = detect(root, {}, "armv7l")
    assert (found.openwrt, found.arch, found.log_source) == (True, "armv7", "logread")
    assert (found.state, found.volatile) == (Path("/etc/edge-agent"), Path("/tmp/edge-agent"))
    assert found.labels == {"os": "openwrt", "wifi-log": "true"}


@pytest.mark.parametrize(
    ("files", "source"),
    [
        ((), ""),
        (("var/log/messages", "var/log/syslog", "run/log/journal/"), "/var/log/messages"),
        (("var/log/syslog",), "/var/log/syslog"),
        (("run/log/journal/",), "journald"),
        (("var/log/journal/",), "journald"),
        (("sbin/logread",), "logread"),
        (("var/log/messages/", "run/systemd/journal/socket"), "journald"),
    ],
)
def test_the_log_is_a_syslog_file_or_the_journal(tmp_path: Path, files: tuple[str, ...], source: str) -> None:
    found = detect(host(tmp_path, *files), {}, "x86_64")
    assert found.log_source == (f"{tmp_path}{source}" if source.startswith("/") else source)
    assert found.state == found.volatile == Path("/var/lib/edge-agent")


def test_an_access_point_with_a_log_has_the_wifi_label(tmp_path: Path) -> None:
    root = host(tmp_path, "var/run/hostapd/")
    assert "wifi-log" not in detect(root, {}, "x86_64").labels
    assert detect(host(root, "var/log/messages"), {}, "x86_64").labels["wifi-log"] == "true"


def test_an_nvidia_device_is_a_gpu(tmp_path: Path) -> None:
    assert detect(tmp_path, {}, "x86_64").labels == {}
    assert detect(host(tmp_path, "dev/nvidia0"), {}, "x86_64").labels == {"gpu": "true"}


@contextmanager
def engine(path: Path, answer: bytes) -> Iterator[None]:
    """A socket that answers every request so, until the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join()


@pytest.mark.parametrize(
    ("answer", "labels"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\nOK", {"docker": "true"}),
        (b"HTTP/1.0 500 Internal Server Error\r\n\r\n", {}),
        (b"SSH-2.0-OpenSSH_9.2\r\n", {}),
        (b"", {}),
    ],
)
def test_an_engine_counts_when_it_answers(tmp_path: Path, answer: bytes, labels: dict[str, str]) -> None:
    with engine(tmp_path / "run/docker.sock", answer):
        assert detect(tmp_path, {}, "x86_64").labels == labels
    with engine(tmp_path / "other.sock", answer):
        assert detect(tmp_path / "none", {"DOCKER_HOST": f"unix://{tmp_path}/other.sock"}, "x86_64").labels == labels
    (tmp_path / "other.sock").unlink()
    with engine(tmp_path / "other.sock", answer):
        named = detect(tmp_path / "none", {}, "x86_64", docker_host=f"unix://{tmp_path}/other.sock")
    assert named.labels == labels


@pytest.mark.parametrize("address", ["unix:///nowhere", "tcp://127.0.0.1:1", "ssh://me@there", "junk", "tcp://[", ""])
def test_an_unreachable_engine_gives_no_label(tmp_path: Path, address: str) -> None:
    assert detect(tmp_path, {"DOCKER_HOST": address}, "x86_64").labels == {}


def test_a_socket_without_a_listener_gives_no_label(tmp_path: Path) -> None:
    host(tmp_path, "run/")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "run/docker.sock"))
    assert detect(tmp_path, {}, "x86_64").labels == {}


def test_this_very_host_is_something() -> None:
    found = detect()
    assert found.arch == architecture(platform.machine(), 64).name
    for key, value in found.labels.items():
        check_label(key, value)

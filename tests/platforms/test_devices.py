"""Facts of known devices, from folders that look like them, and of broken devices."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import msgspec
import pytest

from agent.config import Config
from agent.model.labels import check_label
from agent.platforms import Host, Platform, Space, detect, placed, wasm_workers
from agent.platforms.facts import MOST, shown
from agent.platforms.rules import libc, memory, model, processor
from tests.platforms.device_folders import FOLDER, NAMES, detected, host_of

KNOWN = {
    "uap-ac-hd": {
        "arch": "armv7", "engine": "wasm3", "system": "unifi-ap", "model": "UAP-AC-HD", "name": "UniFi 6.6.65.15248", "cores": 2,
        "processor": "qcom,ipq8064, ARMv7 Processor rev 0 (v7l)", "neon": True, "init": "procd", "libc": "musl",
        "radios": ("wifi0", "wifi1"), "state": Path("/tmp/edge-agent"), "volatile": Path("/tmp/edge-agent"),
        "labels": {"memory": "small", "os": "unifi-ap", "radio": "true", "wifi-log": "true"},
    },
    "u6-plus": {
        "arch": "aarch64", "engine": "wasmtime", "system": "openwrt", "model": "Ubiquiti UniFi 6 Plus", "cores": 2,
        "name": "OpenWrt 24.10.0 r28427-6df0e3d02a", "processor": "mediatek,mt7981", "neon": True, "init": "procd", "libc": "musl",
        "radios": ("phy0", "phy1"), "log_source": "logread", "state": Path("/etc/edge-agent"), "volatile": Path("/tmp/edge-agent"),
        "labels": {"memory": "small", "os": "openwrt", "radio": "true", "wifi-log": "true"}, "small_flash": True,
    },
    "raspberry-pi-4": {
        "arch": "aarch64", "system": "linux", "model": "Raspberry Pi 4 Model B Rev 1.4", "cores": 4, "processor": "brcm,bcm2711",
        "neon": True, "init": "systemd", "libc": "glibc", "radios": ("phy0",), "log_source": "journald", "labels": {"radio": "true"},
        "state": Path("/var/lib/edge-agent"), "volatile": Path("/var/lib/edge-agent"), "name": "Debian GNU/Linux 12 (bookworm)",
    },
    "old-laptop": {
        "arch": "x86_64", "system": "linux", "model": "LENOVO ThinkPad X220", "cores": 4, "neon": None, "init": "systemd",
        "processor": "Intel(R) Core(TM) i5-2520M CPU @ 2.50GHz", "libc": "glibc", "labels": {"radio": "true"},
    },
    "unifi-os-console": {
        "arch": "aarch64", "system": "unifi-os", "model": "UniFi Dream Machine PRO", "cores": 4, "init": "systemd", "libc": "glibc",
        "name": "UniFi OS UDMPRO.al324.v4.0.6.ba1ff30.240705.1033 on Debian GNU/Linux 11 (bullseye)", "radios": (),
        "state": Path("/data/edge-agent"), "volatile": Path("/data/edge-agent"), "labels": {"os": "unifi-os"},
    },
    "ec2": {
        "arch": "x86_64", "system": "linux", "model": "Amazon EC2 t3.micro", "cores": 2, "init": "systemd", "libc": "glibc",
        "name": "Amazon Linux 2023.6.20250107", "labels": {}, "log_source": "journald",
    },
}  # fmt: skip


def test_every_device_folder_has_its_facts() -> None:
    assert sorted(KNOWN) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_facts_of_a_device(name: str) -> None:
    found = detected(name)
    assert {key: getattr(found, key) for key in KNOWN[name]} == KNOWN[name]
    for key, value in found.labels.items():
        check_label(key, value)


def test_cameras_are_told_from_other_video_devices() -> None:
    pi = [(v.source, v.text) for v in detected("raspberry-pi-4").video]
    assert pi == [("/dev/video0", "UVC Camera (046d:0825)")]
    assert [v.source for v in detected("old-laptop").video] == ["/dev/video0"]
    assert detected("ec2").video == ()


@pytest.mark.parametrize(("name", "workers"), [("u6-plus", 1), ("uap-ac-hd", 1), ("ec2", 2), ("raspberry-pi-4", 4)])
def test_devices_with_little_memory_have_fewer_workers(name: str, workers: int) -> None:
    assert wasm_workers(detected(name)) == workers


def test_folders_of_the_configuration_follow_the_device() -> None:
    openwrt = placed(Config(), host_of("u6-plus"))
    assert (openwrt.state, openwrt.volatile_folder) == (Path("/etc/edge-agent"), Path("/tmp/edge-agent"))
    assert {openwrt.origin("state"), openwrt.origin("volatile")} == {"this device"}
    console = placed(Config(), host_of("unifi-os-console"))
    assert console.state == console.volatile_folder == Path("/data/edge-agent")
    assert placed(Config(), host_of("ec2")) == Config()


@pytest.mark.parametrize(
    ("state", "volatile"), [("/mnt/usb/edge", "/mnt/usb/edge"), ("/etc/edge-agent", "/tmp/edge-agent")]
)
def test_a_named_state_folder_keeps_everything(state: str, volatile: str) -> None:
    named = msgspec.structs.replace(Config(), state=Path(state), origins={"state": "option --state"})
    found = placed(named, host_of("u6-plus"))
    assert (found.state, found.volatile_folder) == (Path(state), Path(volatile))


def test_a_named_volatile_folder_stays() -> None:
    named = msgspec.structs.replace(Config(), volatile=Path("/mnt/usb"), origins={"volatile": "x:1"})
    assert placed(named, host_of("u6-plus")).volatile_folder == Path("/mnt/usb")


def test_a_small_disk_of_any_system_keeps_the_journal_in_memory(tmp_path: Path) -> None:
    small = Host(tmp_path, space=lambda _: Space(16 << 20, 8 << 20))
    assert placed(Config(), small).volatile_folder == Path("/tmp/edge-agent")
    assert placed(Config(), Host(tmp_path, space=lambda _: Space())).volatile_folder == Path("/var/lib/edge-agent")


def write(root: Path, **files: str) -> Host:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Host(root)


def test_a_container_has_the_memory_of_its_limit(tmp_path: Path) -> None:
    host = write(tmp_path, proc__meminfo="MemTotal:  8000000 kB\n", sys__fs__cgroup__memory_limit="")
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("268435456\n")
    assert memory.memory(host) == 256 << 20
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("max\n")
    assert memory.memory(host) == 8000000 * 1024


@pytest.mark.parametrize(("present", "cores"), [("0\n", 1), ("0-127\n", 128), ("0-1,4-5\n", 4), ("9-0\n", 1), ("junk\n", 1),
                                                ("0-99999\n", 4096)])  # fmt: skip
def test_cores_are_counted_from_ranges(tmp_path: Path, present: str, cores: int) -> None:
    assert processor.cores(write(tmp_path, sys__devices__system__cpu__present=present)) == cores


def test_names_that_makers_left_out_are_not_shown(tmp_path: Path) -> None:
    dmi = {"sys_vendor": "System manufacturer", "product_name": "To be filled by O.E.M.", "product_version": "x"}
    host = write(tmp_path, **{f"sys__class__dmi__id__{k}": v + "\n" for k, v in dmi.items()})
    assert model.model(host) == "System manufacturer"


def test_the_shells_loader_says_which_c_library_is_used(tmp_path: Path) -> None:
    host = write(tmp_path, **{"lib__ld-musl-x86_64.so.1": "", "lib64__ld-linux-x86-64.so.2": ""})
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sh").write_bytes(b"\x7fELF" + bytes(60) + b"\0/lib/ld-musl-x86_64.so.1\0" + bytes(100))
    assert libc.libc(host) == "musl"
    (tmp_path / "bin/sh").write_bytes(b"\x7fELF static")
    assert libc.libc(host) == "glibc"


def test_texts_of_the_hardware_are_short_printable_lines() -> None:
    assert shown("A\x1b[31mB\0\n C" + "x" * 200 + "\0") == ("A [31mB C" + "x" * 200)[:100]


# -- broken and hostile hosts -----------------------------------------------------------------------------------------

LOOKED_AT = sorted({str(p.relative_to(FOLDER / n / "root")) for n in NAMES for p in (FOLDER / n / "root").rglob("*")
                    if p.is_file()} | {"sys/fs/cgroup/memory.max", "bin/sh", "etc/TZ", "etc/config/system"})  # fmt: skip


def empty(path: Path) -> None:
    path.touch()


def junk(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 16)


def endless(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"MemTotal: 99999999999999999999 kB\nname=" + b"A" * 1000)
        file.truncate(1 << 40)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def listening(path: Path) -> None:
    # A socket's path has at most 107 bytes: bound from its folder.
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(before)


@pytest.mark.parametrize("nasty", [empty, junk, endless, fifo, loop, listening, Path.mkdir])
def test_hostile_files_neither_raise_nor_wait(tmp_path: Path, nasty: object) -> None:
    for name in LOOKED_AT:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nasty(path)  # type: ignore[operator]
    found = detect(tmp_path, {}, "armv7l")
    texts = [found.name, found.model, found.processor, found.init, found.libc, *(v.text for v in found.video)]
    assert all(len(t) <= 250 and t.isprintable() for t in texts)
    for key, value in found.labels.items():
        check_label(key, value)
    assert 1 <= wasm_workers(found) <= 4
    shutil.rmtree(tmp_path)


def test_a_file_is_read_up_to_the_limit_and_a_folder_too(tmp_path: Path) -> None:
    with (tmp_path / "long").open("wb") as file:
        file.truncate(1 << 40)
    (tmp_path / "many").mkdir()
    for n in range(300):
        (tmp_path / "many" / str(n)).touch()
    host = Host(tmp_path)
    assert (len(host.read("/long")), len(host.names("/many"))) == (MOST, 256)
    assert (host.read("/none"), host.names("/none"), host.read("/a\0b"), host.exists("/a\0b")) == (b"", [], b"", False)


def test_this_host_has_memory_a_disk_and_a_c_library() -> None:
    found: Platform = detect()
    assert found.memory > 64 << 20
    assert found.flash.total > 0
    assert found.libc in ("glibc", "musl")

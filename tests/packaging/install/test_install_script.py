"""The script itself: its form, its options, and what it does where it cannot install."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.standins import busybox
from hil.standins.busybox import BusyboxRoot
from tests.packaging.install.releases import ROOT, TOKEN, Keys, release

SHELLS = (["/bin/busybox", "ash"], ["dash"], ["bash"])


def shells() -> list[list[str]]:
    found = [(shutil.which(shell[0]), shell[1:]) for shell in SHELLS]
    return [[program, *words] for program, words in found if program]


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="Debian's package shellcheck is not installed")
def test_shellcheck_finds_nothing_in_the_script_and_its_parts(first: Path) -> None:
    parts = [ROOT / "packaging/install/run.sh", ROOT / "packaging/install/uninstall.sh"]
    done = subprocess.run(
        ["shellcheck", "--shell=sh", first / "install.sh", *parts], capture_output=True, text=True, check=False
    )
    assert done.stdout == ""
    assert done.returncode == 0


@pytest.mark.parametrize("shell", shells(), ids=lambda s: Path(s[-1]).name)
def test_cut_download_does_nothing_in_any_shell(shell: list[str], first: Path, tmp_path: Path) -> None:
    lines = (first / "install.sh").read_bytes().splitlines(keepends=True)
    # Everything but the last line only defines functions; a sample of the cuts is run, and every cut of the last lines.
    cuts = {*range(1, len(lines), 37), *range(len(lines) - 60, len(lines))}
    for cut in sorted(cuts):
        done = subprocess.run(
            shell, input=b"".join(lines[:cut]), capture_output=True, check=False, cwd=tmp_path,
            env={"PATH": str(tmp_path), "TMPDIR": str(tmp_path)},
        )  # fmt: skip
        assert done.stdout == b"", f"cut after line {cut}"
    for cut in range(1, len(lines[-1]) - 1):
        text = b"".join(lines[:-1]) + lines[-1][:-1][:cut]
        done = subprocess.run(
            shell, input=text, capture_output=True, check=False, cwd=tmp_path, env={"PATH": str(tmp_path)}
        )
        assert done.stdout == b"", f"cut after {lines[-1][:cut]!r}"
        assert b"install:" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shell", shells(), ids=lambda s: Path(s[-1]).name)
@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--frm x", "there is no option --frm"),
        ("--from", "--from needs a value"),
        ("--label camera", "camera is not a label"),
        ("--name 'a b'", "a b is not a name"),
        ("--variant big", "there is no variant big"),
        ("--wait soon", "--wait needs a number"),
        ("--sink --variant camera", "edge-sink has no variant"),
        ("--new --token-file x", "give one of them"),
    ],
)
def test_wrong_option_is_named_with_exit_code_2(shell: list[str], option: str, words: str, first: Path) -> None:
    line = " ".join([*shell, str(first / "install.sh"), option])
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture
def other() -> Iterator[BusyboxRoot]:
    """A machine whose `uname` can be replaced: Debian's busybox shell runs its own without looking at the file."""
    if why := busybox.missing():
        pytest.skip(why)
    with BusyboxRoot(programs=("dash",)) as made:
        yield made


def test_processor_without_an_agent_gets_the_syslog_line(first: Path, other: BusyboxRoot) -> None:
    box = other
    box.put(first, "/mnt")
    box.run("rm /bin/uname")
    box.put(b"#!/bin/sh\ncase $1 in -s) echo Linux ;; *) echo mips ;; esac\n", "/bin/uname", mode=0o755)
    before = listing(box)
    done = box.run("dash /mnt/install.sh --from https://192.168.1.10:7948/install", env={"EDGE_AGENT_TOKEN": TOKEN})
    assert done.code == 1
    assert "  syslogd -R 192.168.1.10:5514\n" in done.stdout
    assert done.stderr == "install: nothing was changed: there is no edge-agent for mips\n"
    box.put(b"DISTRIB_ID='OpenWrt'\n", "/etc/openwrt_release")
    done = box.run("dash /mnt/install.sh --from https://192.168.1.10:7948/install", env={"EDGE_AGENT_TOKEN": TOKEN})
    assert "uci set system.@system[0].log_ip='192.168.1.10'" in done.stdout
    box.run("rm /etc/openwrt_release")
    assert listing(box) == before


def test_armv7_without_neon_is_refused(first: Path, other: BusyboxRoot) -> None:
    box = other
    box.put(first, "/mnt")
    box.run("rm /bin/uname")
    box.put(b"#!/bin/sh\ncase $1 in -s) echo Linux ;; *) echo armv7l ;; esac\n", "/bin/uname", mode=0o755)
    box.put(b"Features\t: half thumb fastmult vfp edsp tls\n", "/tmp/cpuinfo")
    box.run("mount --bind /tmp/cpuinfo /proc/cpuinfo").text()
    done = box.run("dash /mnt/install.sh", env={"EDGE_AGENT_TOKEN": TOKEN})
    assert (done.code, "no NEON" in done.stderr) == (1, True)
    box.put(b"Features\t: half thumb fastmult vfp edsp neon vfpv3 tls\n", "/tmp/cpuinfo")
    done = box.run("dash /mnt/install.sh", env={"EDGE_AGENT_TOKEN": TOKEN})
    assert "for armv7 that this machine can unpack" in done.stderr


def test_without_terminal_and_token_it_says_what_to_give(first: Path, box: BusyboxRoot) -> None:
    box.put(first, "/mnt")
    before = listing(box)
    done = box.run("sh /mnt/install.sh")
    assert done.code == 1
    assert done.stderr == (
        "install: there is no token: set EDGE_AGENT_TOKEN or --token-file, or give --new on the first machine\n"
    )
    assert listing(box) == before


@pytest.mark.parametrize("token", ["word", "edge1.a b", "edge1.a'b"])
def test_text_that_is_no_token_is_refused(token: str, first: Path, box: BusyboxRoot) -> None:
    box.put(first, "/mnt")
    done = box.run("sh /mnt/install.sh", env={"EDGE_AGENT_TOKEN": token})
    assert done.code == 1
    assert "token" in done.stderr
    assert token not in done.stderr


def test_wrong_hash_installs_nothing(first: Path, box: BusyboxRoot) -> None:
    box.put(first, "/mnt")
    box.run("printf x >>/mnt/edge-agent-1.0.0-x86_64.tar.xz")
    before = listing(box)
    done = box.run("sh /mnt/install.sh", env={"EDGE_AGENT_TOKEN": TOKEN})
    assert done.code == 1
    assert "the SHA-256 of edge-agent-1.0.0-x86_64.tar.xz is wrong" in done.stderr
    assert listing(box) == before


def test_wrong_signature_installs_nothing(keys: Keys, tmp_path: Path) -> None:
    forged = release(tmp_path / "forged", keys)
    (forged / "manifest.json.sig").write_bytes(Keys().sign((forged / "manifest.json").read_bytes()))
    with BusyboxRoot(programs=("openssl",)) as box:
        box.put(forged, "/mnt")
        before = listing(box)
        done = box.run("sh /mnt/install.sh", env={"EDGE_AGENT_TOKEN": TOKEN})
        assert done.code == 1
        assert "the signature of the manifest in /mnt is wrong" in done.stderr
        assert listing(box) == before
        (forged / "manifest.json.sig").write_bytes(keys.sign((forged / "manifest.json").read_bytes()))
        box.put(forged, "/mnt")
        done = box.run("sh /mnt/install.sh", env={"EDGE_AGENT_TOKEN": TOKEN})
        assert "the manifest's signature is right (openssl)" in done.stdout
        assert done.code == 0


def test_missing_file_is_one_sentence(first: Path, box: BusyboxRoot) -> None:
    box.put(first, "/mnt")
    box.run("rm /mnt/*.tar.xz")
    done = box.run("sh /mnt/install.sh", env={"EDGE_AGENT_TOKEN": TOKEN})
    assert (done.code, done.stderr) == (1, "install: cannot get edge-agent-1.0.0-x86_64.tar.xz from /mnt\n")


def test_full_disk_and_no_ram_is_refused_before_any_change(first: Path, box: BusyboxRoot) -> None:
    box.put(first, "/mnt")
    box.run("mkdir /opt; mount -t tmpfs -o size=2m tmpfs /opt; mount -t tmpfs -o size=3m tmpfs /tmp").text()
    before = listing(box)
    done = box.run("sh /mnt/install.sh", env={"EDGE_AGENT_TOKEN": TOKEN})
    assert done.code == 1
    assert "not enough room: flash has too little" in done.stderr
    assert listing(box) == before


def listing(box: BusyboxRoot) -> list[str]:
    """Every file with its mode and owner, and the content of those that an installation could change."""
    found = box.run(
        "find / -path /proc -prune -o -path /dev -prune -o -path /run/utmp -o -exec stat -c '%A %U %n' {} + | sort"
    ).text()
    texts = box.run("cat /etc/passwd /etc/group; ! [ -e /etc/inittab ] || cat /etc/inittab").text()
    return [*found.splitlines(), *texts.splitlines()]

"""Which folders survive a power cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.platforms import survives_power_cut

OPENWRT = """\
14 1 0:13 / /rom ro,relatime - squashfs /dev/root ro
20 1 0:17 / / rw,noatime - overlay overlayfs:/overlay rw,lowerdir=/,upperdir=/overlay/upper,workdir=/overlay/work
18 20 0:16 / /tmp rw,nosuid,nodev,noatime - tmpfs tmpfs rw
21 20 31:6 / /overlay rw,noatime - jffs2 /dev/mtdblock6 rw
"""
NO_FLASH = """\
20 1 0:17 / / rw,noatime - overlay overlayfs:/tmp/root rw,lowerdir=/,upperdir=/tmp/root/upper,workdir=/tmp/root/work
18 20 0:16 / /tmp rw,nosuid,nodev,noatime - tmpfs tmpfs rw
"""
"""Forms of OpenWrt's boot; no device gave them."""


@pytest.mark.parametrize(
    ("table", "folder", "survives"),
    [
        (OPENWRT, "/etc/edge-agent", True),
        (OPENWRT, "/tmp/edge-agent", False),
        (NO_FLASH, "/etc/edge-agent", False),
        ("24 1 8:1 / / rw - ext4 /dev/sda1 rw\n25 24 0:20 / /run rw - tmpfs tmpfs rw\n", "/var/lib/edge-agent", True),
        ("24 1 8:1 / / rw - ext4 /dev/sda1 rw\n25 24 0:20 / /var rw - tmpfs tmpfs rw\n", "/var/lib/edge-agent", False),
        ("nonsense\n", "/var/lib/edge-agent", True),
    ],
)
def test_folder_survives_unless_its_file_system_is_in_ram(
    table: str, folder: str, survives: bool, tmp_path: Path
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(table)
    assert survives_power_cut(Path(folder), mounts) is survives


def test_folder_of_this_machine_in_ram_is_found() -> None:
    assert not survives_power_cut(Path("/dev/shm/edge-agent/journal"))


def test_missing_table_counts_as_durable(tmp_path: Path) -> None:
    assert survives_power_cut(Path("/etc"), tmp_path / "none")

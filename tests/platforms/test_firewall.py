"""The firewall tool is recognised by its files, and each tool has its command."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.platforms import TOOLS, firewall_tool, open_port


def test_openwrt_is_recognised_by_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "etc/config").mkdir(parents=True)
    (tmp_path / "etc/config/firewall").write_text("config defaults\n")
    assert firewall_tool(tmp_path, "") == "openwrt"


@pytest.mark.parametrize(("programs", "tool"), [(["nft", "ufw"], "ufw"), (["firewall-cmd", "nft"], "firewalld"),
                                                (["nft", "iptables"], "nftables"), (["iptables"], "iptables"), ([], "")])  # fmt: skip
def test_a_tool_that_manages_others_comes_first(tmp_path: Path, programs: list[str], tool: str) -> None:
    for name in programs:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    assert firewall_tool(tmp_path, str(tmp_path)) == tool


@pytest.mark.parametrize("tool", [*TOOLS, ""])
def test_each_command_names_port_and_protocol(tool: str) -> None:
    command = open_port(tool, 7946, "udp")
    assert "7946" in command
    assert "udp" in command.lower()

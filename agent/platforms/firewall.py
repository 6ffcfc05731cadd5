"""The firewall tool of this machine, and the commands that open a port with it."""

from __future__ import annotations

import shutil
from pathlib import Path

UFW, FIREWALLD, OPENWRT, NFTABLES, IPTABLES = "ufw", "firewalld", "openwrt", "nftables", "iptables"
TOOLS = (OPENWRT, UFW, FIREWALLD, NFTABLES, IPTABLES)
_PROGRAMS = ((UFW, "ufw"), (FIREWALLD, "firewall-cmd"), (NFTABLES, "nft"), (IPTABLES, "iptables"))
_PATH = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin"


def firewall_tool(root: Path = Path("/"), path: str = _PATH) -> str:
    """The tool that manages the firewall here, one of TOOLS; empty where none is installed. Nothing is run."""
    if (root / "etc/config/firewall").is_file():
        return OPENWRT
    return next((tool for tool, program in _PROGRAMS if shutil.which(program, path=path)), "")


def open_port(tool: str, port: int, protocol: str = "tcp") -> str:
    """The command that lets other hosts reach `port` of the machine with this tool; a sentence where the tool is unknown."""
    match tool:
        case "openwrt":
            rule = {"name": "edge-agent", "src": "lan", "proto": protocol, "dest_port": str(port), "target": "ACCEPT"}
            sets = "; ".join(f"uci set firewall.@rule[-1].{k}='{v}'" for k, v in rule.items())
            return f"uci add firewall rule; {sets}; uci commit firewall; /etc/init.d/firewall reload"
        case "ufw":
            return f"ufw allow {port}/{protocol}"
        case "firewalld":
            return f"firewall-cmd --permanent --add-port={port}/{protocol} && firewall-cmd --reload"
        case "nftables":
            return f"nft insert rule inet filter input {protocol} dport {port} accept"
        case "iptables":
            return f"iptables -I INPUT -p {protocol} --dport {port} -j ACCEPT"
    return f"allow {protocol.upper()} port {port} in the firewall"

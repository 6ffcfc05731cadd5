"""`edge-agent demo`: the whole story on this machine, with separate agents and a sink."""

from agent.cli.demo.command import app

__all__ = ["app"]

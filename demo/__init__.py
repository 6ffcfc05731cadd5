"""`edge-agent demo`: the whole story on this machine, with separate agents and a sink."""

from demo.command import app

__all__ = ["app"]

"""edge-agent: a masterless mesh of agents for a building full of devices."""

__version__ = "0.1.0"

PROTOCOL = 1
"""The protocol between nodes (docs/protocol.md): versions of the agent with the same number understand each other."""

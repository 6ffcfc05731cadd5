"""edge-agent: a masterless mesh of agents for a building full of devices."""

__version__ = "0.1.0"

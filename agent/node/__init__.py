"""The service: builds the houses, wires them, supervises what runs, and answers the local API.

`run_agent` is a node's whole life; `Agent` is what the API sees.
"""

from agent.node.agent import Agent
from agent.node.start import run_agent

__all__ = ["Agent", "run_agent"]

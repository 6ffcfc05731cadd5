"""Builds one node from its parts, and runs it. `run_agent` is the whole life of an agent's process."""

from agent.node.build import build_node
from agent.node.entry import SWITCH_INTERVAL, run_agent
from agent.node.node import Node
from agent.node.run import close_node, run_node

__all__ = ["SWITCH_INTERVAL", "Node", "build_node", "close_node", "run_agent", "run_node"]

"""The logs of the steps of this node: what their programs wrote, and the agent's messages about them."""

from agent.logs.reading import Reader
from agent.logs.store import LogStore
from agent.logs.wire import MAX_WAIT, LogLine, LogLines, ReadRequest

__all__ = ["MAX_WAIT", "LogLine", "LogLines", "LogStore", "ReadRequest", "Reader"]

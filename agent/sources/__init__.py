"""Sources of lines: log files, journald, logread and syslog senders."""

from agent.sources.batch import MAX_BATCH, MAX_LINE, Anchor, Batch, Counters, LineSource, Position, SenderCount
from agent.sources.file_source import FileSource
from agent.sources.opening import open_source
from agent.sources.syslog import Decisions, Reception, SenderRule, SyslogSource, network, rule_name

__all__ = [
    "MAX_BATCH", "MAX_LINE", "Anchor", "Batch", "Counters", "Decisions", "FileSource", "LineSource", "Position", "Reception",
    "SenderCount", "SenderRule", "SyslogSource", "network", "open_source", "rule_name",
]  # fmt: skip

"""Sources of lines: log files, journald, logread and syslog senders."""

from agent.sources.batch import MAX_BATCH, MAX_LINE, Batch, Counters, LineSource, Position, SenderCount
from agent.sources.file_source import FileSource
from agent.sources.opening import open_source
from agent.sources.syslog import SyslogSource

__all__ = [
    "MAX_BATCH", "MAX_LINE", "Batch", "Counters", "FileSource", "LineSource", "Position", "SenderCount",
    "SyslogSource", "open_source",
]  # fmt: skip

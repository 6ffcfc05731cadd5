"""A syslog receiver, for access points that cannot run an agent."""

from agent.sources.syslog.allow_list import Decisions, network
from agent.sources.syslog.source import KEYS, Reception, SyslogSource

__all__ = ["KEYS", "Decisions", "Reception", "SyslogSource", "network"]

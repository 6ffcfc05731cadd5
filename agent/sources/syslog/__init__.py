"""A syslog receiver, for access points that cannot run an agent."""

from agent.sources.syslog.source import SyslogSource

__all__ = ["SyslogSource"]

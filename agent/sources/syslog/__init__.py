"""A syslog receiver, for access points that cannot run an agent."""

from agent.sources.syslog.decisions import Decisions, SenderRule, network, rule_name
from agent.sources.syslog.source import KEYS, Reception, SyslogSource

__all__ = ["KEYS", "Decisions", "Reception", "SenderRule", "SyslogSource", "network", "rule_name"]

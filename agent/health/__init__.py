"""Coded warnings about this node, each with a remedy; the checks that find them; the agent's log."""

from agent.health.checks import CODES, run_checks
from agent.health.clock import clock_synchronised
from agent.health.facts import Facts, FailingStep, SourceFact
from agent.health.logs import setup_logging
from agent.health.registry import HealthRegistry

__all__ = [
    "CODES",
    "Facts",
    "FailingStep",
    "HealthRegistry",
    "SourceFact",
    "clock_synchronised",
    "run_checks",
    "setup_logging",
]

"""Coded warnings about this node, each with a remedy; the checks that find them; the agent's log."""

from agent.health.checks import CODES, run_checks
from agent.health.facts import Facts, FailingStep, Gone, LearningFact, SourceFact
from agent.health.logs import redact, setup_logging
from agent.health.registry import HealthRegistry
from agent.health.timesync import clock_synchronised

__all__ = [
    "CODES", "Facts", "FailingStep", "Gone", "HealthRegistry", "LearningFact", "SourceFact", "clock_synchronised", "redact",
    "run_checks",
    "setup_logging",
]  # fmt: skip

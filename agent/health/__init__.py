"""Coded warnings with a remedy, and the checks that find them.

Faces: `HealthRegistry`, `Facts` and `run_checks` (pure checks), `clock_synchronised`,
`setup_logging`.
"""

from agent.health.checks import CODES, run_checks
from agent.health.facts import Facts, FailingStep, SourceFact
from agent.health.logs import redact, setup_logging
from agent.health.registry import HealthRegistry
from agent.health.timesync import clock_synchronised

__all__ = [
    "CODES",
    "Facts",
    "FailingStep",
    "HealthRegistry",
    "SourceFact",
    "clock_synchronised",
    "redact",
    "run_checks",
    "setup_logging",
]

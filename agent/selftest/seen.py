"""The result of a part of the self-test."""

from __future__ import annotations

from agent.api import results


class Seen(results.Check, omit_defaults=False, kw_only=True):
    """The result of one part; `state` is `fail` where an agent could not do its work here. `ms` says how long it took."""

    remedy: str = ""
    ms: float = 0.0

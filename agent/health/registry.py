"""The table of warnings that `status` and the sink read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable

from agent.model.health import SEVERITIES, Warning

logger = logging.getLogger(__name__)


class HealthRegistry:
    """Warnings by (code, subject). Used on the loop only; each is logged once when it appears and once
    when it goes."""

    def __init__(self) -> None:
        self._now: dict[tuple[str, str], Warning] = {}
        self._callbacks: list[Callable[[], None]] = []

    def set(self, warning: Warning) -> None:
        """Add a warning, or replace the one with the same code and subject."""
        if warning.severity not in SEVERITIES:
            raise ValueError(f"severity {warning.severity!r} is not in {', '.join(SEVERITIES)}")
        key = (warning.code, warning.subject)
        old = self._now.get(key)
        if old == warning:
            return
        self._now[key] = warning
        if old is None:
            level = logging.INFO if warning.severity == "info" else logging.WARNING
            logger.log(level, "%s: %s", warning.code, warning.text, extra={"subject": warning.subject})
        self._changed()

    def clear(self, code: str, subject: str | None = None) -> None:
        """Remove a warning; without a subject, all of that code. Clearing an absent warning does nothing."""
        gone = [k for k in self._now if k[0] == code and subject in (None, k[1])]
        for key in gone:
            logger.info("%s: over", code, extra={"subject": key[1]})
            del self._now[key]
        if gone:
            self._changed()

    def restarted(self, service: str, failures: int, error: BaseException) -> None:
        """Warn that a service of this process stopped and is started again."""
        text = f"{service} stopped {failures} times: {error}"
        self.set(Warning("service.restarted", service, text, "see the agent's log; report it"))

    def update(self, codes: Collection[str], warnings: Iterable[Warning]) -> None:
        """Replace all warnings of these codes by `warnings`, the findings of a round of checks."""
        found = {(w.code, w.subject): w for w in warnings}
        for key in [k for k in self._now if k[0] in codes and k not in found]:
            self.clear(*key)
        for warning in found.values():
            self.set(warning)

    def list(self) -> list[Warning]:
        """All warnings, worst first, then by code and subject."""
        return sorted(self._now.values(), key=lambda w: (SEVERITIES.index(w.severity), w.code, w.subject))

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` after every change of the table."""
        self._callbacks.append(callback)

    def _changed(self) -> None:
        for callback in self._callbacks:
            callback()

"""Alerts on their way to the sink: a row ends when the sink has taken or refused its alert."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from agent.delivery import Context, Row
from agent.errors import Refused, StepFailed
from agent.model.alert import Alert

NEVER = frozenset({"uplink.too-large", "uplink.mac", "uplink.malformed"})
"""Codes with which the uplink refuses an alert for good: a retry, here or elsewhere, would end the same."""

Submit = Callable[[Alert], Awaitable[None]]
"""Hands an alert to the uplink, which keeps it; raises Refused."""


class Alerts:
    """Sends alerts, and knows the rows whose alerts are on their way."""

    def __init__(self, context: Context, submit: Submit) -> None:
        self.context = context
        self.submit = submit
        self.under_way: dict[str, Row] = {}
        """By event id."""

    async def send(self, row: Row, alert: Alert) -> None:
        """Hand the row's alert to the uplink; raises Refused, or StepFailed (final) where the uplink never takes it."""
        self.under_way[alert.event.id] = row
        try:
            await self.submit(alert)
        except Refused as e:
            self.under_way.pop(alert.event.id, None)
            if e.code in NEVER:
                raise StepFailed(e.message, hint=e.hint, code=e.code, final=True) from None
            raise
        except BaseException:
            self.under_way.pop(alert.event.id, None)
            raise

    def delivered(self, ident: str) -> None:
        """The sink has the alert."""
        row = self.under_way.pop(ident, None)
        if row is not None:
            self.context.apply(self.context.lifecycle.ended(row, "delivered", matched=True))

    def refused(self, ident: str, reason: str) -> None:
        """The sink will never take the alert."""
        row = self.under_way.pop(ident, None)
        if row is not None:
            self.context.apply(self.context.lifecycle.ended(row, "failed", reason, final=True))

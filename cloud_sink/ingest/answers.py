"""Answers to senders: the same status numbers and texts over HTTPS and MQTT."""

from __future__ import annotations

import math
from typing import Any

from agent.errors import EdgeError, IdentityError, Refused
from cloud_sink import metrics

_STATUS = {"sink.too-large": 413, "sink.rate": 429, "sink.key": 401, "sink.mesh": 403, "sink.body": 408}


class TooMany(Refused):
    """The sender exceeds its rate; `wait` is in whole seconds."""

    code = "sink.rate"

    def __init__(self, wait: float) -> None:
        self.wait = math.ceil(wait)
        super().__init__("too many requests", hint=f"wait {self.wait} s")


def unknown_key() -> IdentityError:
    """The error for an unknown or revoked key."""
    return IdentityError(
        "the key is unknown or revoked", code="sink.key", hint="make a key with `edge-sink key create`"
    )


def answer_of(e: EdgeError) -> tuple[int, dict[str, str], dict[str, Any]]:
    """(HTTP status, headers, JSON) for an error. Counts the error in the metrics."""
    status = _STATUS.get(e.code, 422 if isinstance(e, Refused | IdentityError) else 500)
    metrics.REFUSED.labels(e.code).inc()
    headers = {"retry-after": str(e.wait)} if isinstance(e, TooMany) else {}
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return status, headers, e.to_dict()

"""Events that are made on this node, for followers on any node."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec

from agent.errors import EdgeError, Refused

log = logging.getLogger(__name__)

STREAM = "events"
"""The name under which events are published."""


def publish_event(publish: Callable[[str, str], None], event: dict[str, Any]) -> None:
    """Publish an event; without its data where it is too long (`publish` raises Refused). An error is logged."""
    whole = msgspec.json.encode(event)
    try:
        try:
            publish(STREAM, whole.decode())
        except Refused:
            short = {**event, "data": {}, "omitted": len(whole)}
            publish(STREAM, msgspec.json.encode(short).decode())
    except EdgeError as e:
        log.debug("an event was not published: %s", e)

"""The policy of this node's owner, as delivery asks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent.model.task import Task

Check = Callable[[Task], Any]
"""Raises Refused for the task of a step that this node does not run."""


def allowed(_: Task) -> None:
    """A Check that allows every step."""

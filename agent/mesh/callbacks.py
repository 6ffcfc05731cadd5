"""The callables by which other houses meet the mesh."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from agent.identity import PeerIdentity
from agent.model.node import NodeRecord

Handler = Callable[[PeerIdentity, bytes], Awaitable[bytes]]
"""Answers a verb: who asks, and the body; returns the answer's body, or raises an EdgeError that the
caller sees.
"""
Changed = Callable[[NodeRecord, bool], None]
"""Told on the loop when a node's record or its being alive changes."""
LabelsOf = Callable[[str], Mapping[str, str]]
"""The labels that an operator signed for a node id."""

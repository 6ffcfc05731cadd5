"""Functions that other packages give to the mesh."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from agent.identity import PeerIdentity
from agent.model.node import NodeRecord

Handler = Callable[[PeerIdentity, bytes], Awaitable[bytes]]
"""Answers a verb: gets the calling node and the body, returns the body of the answer. An EdgeError that it raises is
raised at the caller.
"""
Changed = Callable[[NodeRecord, bool], None]
"""Called on the loop when a node's record changes, or when it comes or goes: (record, alive)."""
LabelsOf = Callable[[str], Mapping[str, str]]
"""The labels that an operator signed for a node id."""

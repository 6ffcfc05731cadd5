"""The live picture of the demo's mesh, and the result of an arrival."""

from __future__ import annotations

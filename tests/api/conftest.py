from __future__ import annotations

from tests.filters.conftest import filters
from tests.node.conftest import site

__all__ = ["filters", "site"]

"""Fixtures of the stand-ins' tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hil.standins import Box, Lan, lan
from tests.netns import available


@pytest.fixture(scope="module")
def net() -> Iterator[Lan]:
    """A network of stand-ins."""
    if not available():
        pytest.skip("network namespaces need root")
    with lan() as made:
        yield made


@pytest.fixture(scope="module")
def box(net: Lan) -> Iterator[Box]:
    """An x86_64 box on it."""
    with Box(net, "tried") as made:
        yield made

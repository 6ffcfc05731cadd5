"""Fixtures and settings of all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import hypothesis
import pytest

# No test asserts a time: a busy machine is no failure.
hypothesis.settings.register_profile("edge", deadline=None)
hypothesis.settings.load_profile("edge")


@pytest.fixture(autouse=True)
def same_umask() -> Iterator[None]:
    """An agent in this process sets its own umask; files of later tests must not depend on it."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)

"""Fixtures of the installer's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.standins import busybox
from hil.standins.busybox import BusyboxRoot
from tests.packaging.install.releases import Keys, release


@pytest.fixture(scope="session")
def keys() -> Keys:
    """The release key of these tests."""
    return Keys()


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> Path:
    """Release 1.0.0."""
    return release(tmp_path_factory.mktemp("releases") / "1.0.0", keys)


@pytest.fixture(scope="session")
def second(tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> Path:
    """Release 1.1.0."""
    return release(tmp_path_factory.mktemp("releases") / "1.1.0", keys, "1.1.0")


@pytest.fixture
def box() -> Iterator[BusyboxRoot]:
    """A machine with nothing but a static busybox, whose init it is."""
    if why := busybox.missing():
        pytest.skip(why)
    with BusyboxRoot() as made:
        yield made

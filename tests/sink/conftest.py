"""One sink for all tests that do not stop it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from tests.sink.running import Building, Caller, calling_sink


@pytest.fixture(scope="session")
def sink(tmp_path_factory: pytest.TempPathFactory, home: Building) -> Iterator[Caller]:
    with calling_sink(tmp_path_factory.mktemp("shared") / "sink") as caller:
        assert caller.post("/v1/hello", msgspec.msgpack.encode(home.hello)).status_code == 200
        yield caller


@pytest.fixture(scope="session")
def home() -> Building:
    """The building that the shared sink's first key belongs to."""
    return Building("mesh-home")

"""The built filters and an engine, as the tests of the filters have them."""

from tests.filters.conftest import compiled, engine, filters

__all__ = ["compiled", "engine", "filters"]

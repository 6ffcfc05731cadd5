"""The fixtures of the tests of delivery."""

from tests.delivery.conftest import compiled, engine, filters, journal

__all__ = ["compiled", "engine", "filters", "journal"]

"""The built filters, an engine and an open journal, as the tests of delivery have them."""

from tests.delivery.conftest import compiled, engine, filters, journal

__all__ = ["compiled", "engine", "filters", "journal"]

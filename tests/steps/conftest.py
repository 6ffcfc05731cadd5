"""The built filters, an executor and an open journal, as the tests of delivery have them."""

from tests.delivery.conftest import compiled, executor, filters, journal

__all__ = ["compiled", "executor", "filters", "journal"]

"""The fixtures of the tests of delivery."""

from tests.delivery.conftest import compiled, executor, filters, journal

__all__ = ["compiled", "executor", "filters", "journal"]

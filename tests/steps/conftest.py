"""The built filters, an executor and an open journal, as the tests of delivery have them."""

from tests.delivery.conftest import compiled, executor, filters, journal
from tests.steps.wifi import building, clock

__all__ = ["building", "clock", "compiled", "executor", "filters", "journal"]

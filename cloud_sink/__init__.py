"""The cloud sink: receives only the results, stores them and shows them. It never connects to the building."""

from cloud_sink.settings import Limits, Settings

__all__ = ["Limits", "Settings"]

"""The cloud sink: hears only the results, keeps them, shows them. It never needs to reach into the building."""

from cloud_sink.settings import Limits, Settings

__all__ = ["Limits", "Settings"]

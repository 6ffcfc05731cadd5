"""Telling other places: Slack (`notify.slack`), and whatever Apprise knows (`notify.others`); both loaded when
asked for.
"""

from cloud_sink.notify.channel import Channel
from cloud_sink.notify.notifier import Notifier
from cloud_sink.notify.queue import Notices

__all__ = ["Channel", "Notices", "Notifier"]

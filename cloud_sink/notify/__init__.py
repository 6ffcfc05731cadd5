"""Notices in Slack (`notify.slack`) and in the services that Apprise supports (`notify.others`).

Both modules are imported only when they are configured.
"""

from cloud_sink.notify.channel import Channel
from cloud_sink.notify.notifier import Notifier
from cloud_sink.notify.queue import Notices

__all__ = ["Channel", "Notices", "Notifier"]

"""Notices of incidents and of warnings, in Slack (`notify.slack`) and in the services that Apprise supports (`notify.others`).

Both modules are imported only when they are configured.
"""

from cloud_sink.notify.channel import Channel
from cloud_sink.notify.notifier import Notifier
from cloud_sink.notify.queue import Notices
from cloud_sink.notify.troubles import ASKED_EVERY, SILENT, parse_notices
from cloud_sink.notify.watch import Troubles, Watch

__all__ = ["ASKED_EVERY", "SILENT", "Channel", "Notices", "Notifier", "Troubles", "Watch", "parse_notices"]

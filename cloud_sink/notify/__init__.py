"""Telling other places: Slack, and whatever Apprise knows."""

from cloud_sink.notify.channel import Channel
from cloud_sink.notify.notifier import Notifier
from cloud_sink.notify.others import read_others
from cloud_sink.notify.queue import Notices
from cloud_sink.notify.slack import API as SLACK_API
from cloud_sink.notify.slack import Slack

__all__ = ["SLACK_API", "Channel", "Notices", "Notifier", "Slack", "read_others"]

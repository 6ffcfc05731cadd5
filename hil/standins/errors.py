"""Why a device or a stand-in cannot be used."""

from __future__ import annotations


class DeviceError(Exception):
    """A device or a stand-in does not start, does not answer or cannot be made; the message is for the user."""


class Unreachable(DeviceError):
    """A device answers no SSH."""

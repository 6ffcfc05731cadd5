"""Machines that are made here and stand for hardware; each is a `Machine`."""

from hil.standins.aarch64 import Aarch64
from hil.standins.armv7 import Armv7
from hil.standins.box import Box
from hil.standins.errors import DeviceError, Unreachable
from hil.standins.machine import Done, Failed, Machine
from hil.standins.network import Lan, lan
from hil.standins.systemd import Network, SystemdMachine

__all__ = [
    "Aarch64",
    "Armv7",
    "Box",
    "DeviceError",
    "Done",
    "Failed",
    "Lan",
    "Machine",
    "Network",
    "SystemdMachine",
    "Unreachable",
    "lan",
]

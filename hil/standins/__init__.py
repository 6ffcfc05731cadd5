"""Machines that are made here and stand for hardware; each is a `Machine`."""

from hil.standins.machine import Done, Failed, Machine
from hil.standins.systemd import Network, SystemdMachine

__all__ = ["Done", "Failed", "Machine", "Network", "SystemdMachine"]

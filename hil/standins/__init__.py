"""Machines that are made here and stand for hardware; each is a `Machine`."""

from hil.standins.machine import Done, Failed, Machine

__all__ = ["Done", "Failed", "Machine"]

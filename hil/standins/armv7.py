"""An access point of the UAP-AC-HD's kind: ARMv7 (the IPQ8064's class), 256 MB, no C library. qemu translates its processor."""

from __future__ import annotations

from hil.standins.qemu import Emulated, Model
from hil.standins.root import ARMV7


class Armv7(Emulated):
    """An armv7 machine in qemu-system-arm."""

    arch = ARMV7.name
    model = Model(ARMV7, "qemu-system-arm", ("-M", "virt", "-cpu", "cortex-a7"), "linux-image-armmp")

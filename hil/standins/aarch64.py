"""An access point of the U6+'s kind: aarch64 (a Cortex-A53), 512 MB, no C library. qemu translates its processor."""

from __future__ import annotations

from hil.standins.qemu import Emulated, Model
from hil.standins.root import AARCH64


class Aarch64(Emulated):
    """An aarch64 machine in qemu-system-aarch64."""

    arch = AARCH64.name
    model = Model(AARCH64, "qemu-system-aarch64", ("-M", "virt", "-cpu", "cortex-a53"), "linux-image-arm64", memory=512)

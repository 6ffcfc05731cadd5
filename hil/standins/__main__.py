"""Makes the files of the stand-ins in the cache, so that tests need no network: python -m hil.standins ARCH..."""

from __future__ import annotations

import sys
from collections.abc import Callable

from hil.standins.aarch64 import Aarch64
from hil.standins.armv7 import Armv7
from hil.standins.errors import DeviceError
from hil.standins.qemu import image
from hil.standins.root import X86_64, root

MAKERS: dict[str, Callable[[], object]] = {
    "x86_64": lambda: root(X86_64),
    "armv7": lambda: image(Armv7.model),
    "aarch64": lambda: image(Aarch64.model),
}


def main(archs: list[str]) -> int:
    """Make what these architectures need; 0, or 1 with a sentence on stderr."""
    try:
        for arch in archs or list(MAKERS):
            MAKERS[arch]()
    except KeyError as error:
        print(f"hil.standins: no stand-in is {error}; there are {', '.join(MAKERS)}", file=sys.stderr)
        return 1
    except DeviceError as error:
        print(f"hil.standins: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

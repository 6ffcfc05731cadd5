"""One benchmark in this process: `python -m bench.one NAME FD [--quick]` writes its Result as JSON to the descriptor."""

from __future__ import annotations

import importlib
import os
import sys

import msgspec

from bench.figure import Missing, Result


def main(name: str, out: int, *, quick: bool) -> None:
    """Measure and write."""
    measured = importlib.import_module(f"bench.{name}").measure(quick=quick)
    result = Result(benchmark=name, seconds=0.0, load=(0.0, 0.0))
    for item in measured:
        (result.missing if isinstance(item, Missing) else result.figures).append(item)
    with os.fdopen(out, "wb") as file:
        file.write(msgspec.json.encode(result))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), quick="--quick" in sys.argv)

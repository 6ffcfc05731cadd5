"""`python -m detector fetch|eval`: set up the default model, measure a detector."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from detector import evaluate, nanodet, worker
from detector.errors import DetectorError


def main() -> int:
    """Parse and dispatch; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m detector")
    verbs = parser.add_subparsers(dest="verb", required=True)
    fetch = verbs.add_parser("fetch", help="fetch and convert the default model")
    fetch.add_argument("folder", type=Path, nargs="?", default=worker.default_model().parent)
    measure = verbs.add_parser("eval", help="measure precision and recall for people on a labelled folder")
    evaluate.add_options(measure)
    worker.add_options(measure)
    options = parser.parse_args()
    try:
        if options.verb == "eval":
            return evaluate.run(options)
        print(nanodet.install(options.folder, lambda text: print(text, file=sys.stderr)))
    except DetectorError as error:
        print(f"detector: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

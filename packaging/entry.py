"""The entry point of a frozen tree: a worker of the agent, or the command line.

A worker imports its module only: the command line would cost each of them memory and time.
"""

import os
import sys
from importlib import import_module

from agent.frozen import prepare

WORKERS = {
    "camera-worker": "agent.cameras.worker",
    "process-child": "agent.executors.process.child",
    "wasm-child": "agent.executors.wasm.child",
}

prepare()
if len(sys.argv) > 1 and sys.argv[1] in WORKERS:
    # No clean-up at the end, as in the modules' own `python -m`: threads may hang in a driver or in an engine.
    code = import_module(WORKERS[sys.argv[1]]).main(sys.argv[2:])
    sys.stdout.flush()
    os._exit(code)

from agent.cli import main  # noqa: E402

main()

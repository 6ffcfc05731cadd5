"""`python -m bench`: measures each figure in a separate process, prints a table, writes bench/out/latest.json."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from bench import report
from bench.figure import Missing, Result, load

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "bench" / "out" / "latest.json"
BENCHMARKS = (
    "tail",
    "story",
    "arrivals",
    "shutter",
    "hop",
    "blob",
    "rescale",
    "once",
    "detector",
    "idle",
    "burst",
    "egress",
)
LIMIT = 600.0
"""Most seconds for one benchmark."""


def main(arguments: list[str] | None = None) -> int:
    """Run the chosen benchmarks; 0 when all were measured and every goal was reached, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("benchmark", nargs="*", choices=[[], *BENCHMARKS], help="benchmarks to run; default: all")
    parser.add_argument("--quick", action="store_true", help="fewer rounds; do not publish these figures")
    parser.add_argument("--write", action="store_true", help="write the table to docs/performance.md")
    parser.add_argument("--json", action="store_true", help="print the JSON instead of the table")
    chosen = parser.parse_args(arguments)
    before = {r.benchmark: r for r in report.read(OUT)}
    for name in chosen.benchmark or BENCHMARKS:
        print(f"{name} …", end=" ", flush=True, file=sys.stderr)
        result = before[name] = run(name, quick=chosen.quick)
        print(f"{result.seconds:.0f} s, load {result.load[0]} to {result.load[1]}", file=sys.stderr)
    results = [before[name] for name in BENCHMARKS if name in before]
    report.write(OUT, results)
    if chosen.write:
        report.publish(ROOT / "docs" / "performance.md", results)
    shown = [r for r in results if not chosen.benchmark or r.benchmark in chosen.benchmark]
    print(msgspec.json.encode(shown).decode() if chosen.json else report.table(shown))
    return 0 if all(f.reached for r in shown for f in r.figures) and not any(r.missing for r in shown) else 1


def run(name: str, *, quick: bool) -> Result:
    """Measure one benchmark in a separate process; a failure is also a result."""
    read, write = os.pipe()
    command = [sys.executable, "-m", "bench.one", name, str(write), *(["--quick"] if quick else [])]
    began, busy = time.monotonic(), load()
    with os.fdopen(read, "rb") as answer:
        process = subprocess.Popen(command, cwd=ROOT, pass_fds=(write,), stdin=subprocess.DEVNULL)
        os.close(write)
        why = ""
        try:
            process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait()
            why = f"it took more than {LIMIT:.0f} s"
        raw = answer.read() if not why and not process.returncode else b""
    seconds = round(time.monotonic() - began, 1)
    if not raw:
        why = why or f"it ended with exit code {process.returncode}"
        return Result(benchmark=name, seconds=seconds, load=(busy, load()), missing=[Missing(name=name, why=why)])
    result = msgspec.json.decode(raw, type=Result)
    result.seconds, result.load = seconds, (busy, load())
    return result


if __name__ == "__main__":
    sys.exit(main())

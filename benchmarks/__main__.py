"""`python -m benchmarks`: measure, print a table, write it to `benchmarks/results`."""

import argparse
import dataclasses
import importlib
import signal
import sys
import time
import traceback
from pathlib import Path

from benchmarks.context import open_context
from benchmarks.machine import facts
from benchmarks.results import Row, markdown, save
from benchmarks.sizes import SIZES

SUBJECTS = {
    "startup": "start-up of the command line",
    "record": "record a change over HTTP",
    "processor": "processor time of a change, by process",
    "read": "read a history over HTTP",
    "bulk": "many changes in a call",
    "importing": "import a history",
    "rebuilding": "rebuild the read model",
    "lag": "freshness of the read model",
    "packages": "other event-sourcing packages",
    "overload": "twice the sustainable rate",
    "workers": "two serving processes",
    "cores": "a slow core for each process",
    "slow_readers": "followers that do not read",
    "growth": "cost as the ledger grows",
}
RESULTS = Path(__file__).with_name("results")
PACKAGES_PYTHON = Path(__file__).with_name(".venv") / "bin" / "python"


def main() -> int:
    options = _arguments()
    size = SIZES[options.size]
    if options.rounds:
        rounds = dict.fromkeys(("rounds", "few_rounds", "core_rounds"), options.rounds)
        size = dataclasses.replace(size, **rounds)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends what was started
    packages_python = PACKAGES_PYTHON if PACKAGES_PYTHON.exists() else None
    rows: list[Row] = []
    failed: list[str] = []
    with open_context(size, packages_python) as context:
        about = {"size": size.name, **facts(context.databases.url)}
        times: dict[str, str] = {}
        for name in options.only:
            print(f"{name}: {SUBJECTS[name]}", file=sys.stderr)
            started = time.monotonic()
            module = importlib.import_module(f"benchmarks.subjects.{name}")
            try:
                rows += module.run(context)
            except Exception:  # noqa: BLE001  # the other subjects are worth having all the same
                traceback.print_exc()
                failed.append(name)
                about["FAILED"] = ", ".join(failed)
            times[name] = f"{time.monotonic() - started:.0f} s"
            about["took"] = ", ".join(f"{one} {took}" for one, took in times.items())
            # After each subject: a long run that is broken off leaves what it has.
            save(options.output, size.name, rows, about, context.samples)
    print(markdown(rows, about))
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--only", type=_subjects, default=list(SUBJECTS), metavar="A,B")
    parser.add_argument("--rounds", type=int, help="instead of those of the size")
    parser.add_argument("--output", type=Path, default=RESULTS, help="directory of the results")
    return parser.parse_args()


def _subjects(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in SUBJECTS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(SUBJECTS)}")
    return names


if __name__ == "__main__":
    sys.exit(main())

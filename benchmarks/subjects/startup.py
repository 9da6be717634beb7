"""How long the command line takes to say its help."""

import subprocess
import sys

from benchmarks.context import COMMAND, Context
from benchmarks.processes import environment
from benchmarks.results import Goal, Row, alone, compare
from benchmarks.stopwatch import seconds_of

SUBJECT = "start-up"
TIMES = 10


def run(context: Context) -> list[Row]:
    directory = context.new_directory()

    def seconds(*command: str) -> float:
        return seconds_of(
            lambda: subprocess.run(
                command, check=True, cwd=directory, env=environment({}), capture_output=True
            )
        )

    ours, python = [], []
    for _ in range(TIMES):
        ours.append(seconds(COMMAND, "--help"))
        python.append(seconds(sys.executable, "-c", "pass"))
    context.keep(SUBJECT, {"--help": ours, "python": python})
    return [
        alone(SUBJECT, "booking-ledger --help", "s", ours, Goal("≤", 0.3, "ours")),
        compare(SUBJECT, "booking-ledger --help", "s", ours, "python -c pass", python),
    ]

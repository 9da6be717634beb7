"""How long a step takes."""

import time
from collections.abc import Callable


def seconds_of(step: Callable[[], object]) -> float:
    started = time.monotonic()
    step()
    return time.monotonic() - started

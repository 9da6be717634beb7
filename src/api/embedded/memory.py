"""How much memory the embedded database may keep pages in."""

from pathlib import Path

import psutil

MEBIBYTE = 1024 * 1024
SHARE = 16
MEBIBYTES_MIN, MEBIBYTES_MAX = 128, 1024
PROC = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")
LIMIT_FILES = ("memory.max", "memory.limit_in_bytes")
"""Of a control group: the first by version 2, the second, under `memory/`, by version 1."""


def shared_buffers() -> str:
    """A sixteenth of the memory that we may use, at least 128 MiB and at most 1 GiB.

    Pages of a large ledger that do not fit are read again and again from the system, and written
    in between; a small ledger never touches most of it.
    """
    mebibytes = min(psutil.virtual_memory().total, *_limits()) // SHARE // MEBIBYTE
    return f"{max(MEBIBYTES_MIN, min(mebibytes, MEBIBYTES_MAX))}MB"


def _limits() -> list[int]:
    """What containers and service managers let us have; far too much where nobody limits it."""
    limits = [2**63]
    for group in _groups():
        for name in LIMIT_FILES:
            try:
                text = (group / name).read_text()
            except (OSError, UnicodeError):  # no such version, or none of this group
                continue
            if text.strip().isdigit():  # and not "max"
                limits.append(int(text))
    return limits


def _groups() -> list[Path]:
    """The directories of our control groups and of those around them."""
    try:
        lines = PROC.read_text().splitlines()
    except (OSError, UnicodeError):  # not on Linux
        return []
    found: list[Path] = []
    for line in lines:
        _, _, named = line.partition(":")
        controllers, _, path = named.partition(":")
        if not controllers or "memory" in controllers.split(","):
            root = CGROUPS / controllers
            inner = root / path.lstrip("/")
            found += [one for one in (inner, *inner.parents) if one.is_relative_to(root)]
    return found

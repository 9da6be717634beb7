"""Which hue a status has: by its name, so that it is the same on every page and for ever."""

import zlib

HUES = 10
"""As many as `.hue-…` in static/tokens.css."""

WAITING, SETTLED, ACTIVE, DONE, ENDED, ABSENT = 0, 1, 2, 3, 4, 6

_MEANINGS = {
    WAITING: ("pending", "requested", "new", "draft", "open", "waiting", "on hold"),
    SETTLED: ("confirmed", "booked", "accepted", "approved", "reserved", "active"),
    ACTIVE: ("in progress", "checked in", "check in", "started", "assigned", "resolved"),
    DONE: ("completed", "checked out", "check out", "done", "closed", "fulfilled"),
    ENDED: ("cancelled", "canceled", "rejected", "declined", "failed", "expired"),
    ABSENT: ("no show",),
}
_HUE_BY_NAME = {name: hue for hue, names in _MEANINGS.items() for name in names}


def hue(status: str) -> str:
    """The class of a status: usual names have the colour that people expect, all others one
    that depends on the name alone."""
    name = " ".join(status.replace("_", " ").replace("-", " ").lower().split())
    found = _HUE_BY_NAME.get(name)
    return f"hue-{zlib.crc32(name.encode()) % HUES if found is None else found}"

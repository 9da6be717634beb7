"""Times and spans for people: exact ones stand beside the rough ones."""

from datetime import UTC, datetime, timedelta

_STEPS = (*((365 * 86_400, "y"), (86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")),)
_NAMES = {"y": "year", "d": "day", "h": "hour", "min": "minute"}


def minute(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M")


def second(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def span(length: timedelta) -> str:
    """The two largest units, as `3 d 4 h`; with a minus where times contradict the order."""
    seconds = length.total_seconds()
    rest, sign = abs(seconds), "−" if seconds < 0 else ""
    if rest < 1:
        return f"{sign}{round(rest * 1000)} ms" if rest else "0 s"
    parts: list[str] = []
    for place, (size, unit) in enumerate(_STEPS):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{int(count)} {unit}")
            if place + 1 < len(_STEPS):
                following, next_unit = _STEPS[place + 1]
                if rest >= following:
                    parts.append(f"{int(rest // following)} {next_unit}")
            break
    return sign + " ".join(parts)


def ago(time: datetime, now: datetime | None = None) -> str:
    """How long a stored (naive) time has passed or is to come, in its largest unit."""
    passed = ((now or datetime.now(UTC).replace(tzinfo=None)) - time).total_seconds()
    for size, unit in _STEPS[:-1]:
        count = int(abs(passed) // size)
        if count:
            words = f"{count} {_NAMES[unit]}{'s' if count > 1 else ''}"
            return f"{words} ago" if passed > 0 else f"in {words}"
    return "just now"

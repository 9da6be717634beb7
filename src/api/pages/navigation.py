"""The pages that every page leads to."""

from typing import NamedTuple


class Section(NamedTuple):
    name: str
    path: str


BOOKINGS = Section("Bookings", "/")

FLOW = Section("Flow", "/flow")

LIVE = Section("Live", "/live")

HEALTH = Section("Health", "/health")

SECTIONS = (BOOKINGS, LIVE, FLOW, HEALTH)
"""In the order of the navigation. A page is added here together with its route."""

"""The pages that every page leads to."""

from typing import NamedTuple


class Section(NamedTuple):
    name: str
    path: str


BOOKINGS = Section("Bookings", "/")

FLOW = Section("Flow", "/flow")

SECTIONS = (BOOKINGS, FLOW)
"""In the order of the navigation. A page is added here together with its route."""

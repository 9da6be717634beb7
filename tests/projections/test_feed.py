"""Waiting for what comes next."""

import threading
import time

import psycopg

from ledger.database import Database
from projections.feed import wait_for_notification


def test_one_look_answers_all_notifications_that_have_come(
    database: Database, connection: psycopg.Connection
) -> None:
    """Else a projector that was busy for a thousand commits would look a thousand times."""
    channel = database.channel("events")
    with database.connect() as listening:
        listening.execute(f"LISTEN {channel}")
        for _ in range(100):
            connection.execute("SELECT pg_notify(%s, '')", (channel,))
        listening.execute("SELECT")  # and whatever came until here
        began = time.monotonic()
        wait_for_notification(listening, threading.Event(), 20)
        soon = time.monotonic() - began
        wait_for_notification(listening, threading.Event(), 0.3)

        assert soon < 10
        assert time.monotonic() - began > 0.3

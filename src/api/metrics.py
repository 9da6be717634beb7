"""Figures for Prometheus.

With several worker processes the client library shares counters through files in the
directory that PROMETHEUS_MULTIPROC_DIR names; `serve` makes one.
"""

import os
import time
from collections.abc import Iterator
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Histogram, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ledger.async_writer import AsyncWriter
from projections.queries import Lag

METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE", "PUT", "OPTIONS"})
MULTIPROCESS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"


class Metrics:
    def __init__(self, writer: AsyncWriter) -> None:
        self._writer = writer
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "ledger_http_requests",
            "HTTP requests answered",
            ["method", "status"],
            registry=self._registry,
        )
        self.seconds = Histogram(
            "ledger_http_request_seconds",
            "Time to the end of the answer, without live streams",
            ["method"],
            registry=self._registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
        )

    @property
    def queued_commands(self) -> int:
        """How many commands wait in this process to be recorded."""
        return self._writer.queued_commands

    def render(self, listeners: int, lag: Lag | None = None, log: Lag | None = None) -> bytes:
        """The text format: counters of all processes, and gauges as they are now: of the read
        model and of the transparency log."""
        counters = self._registry
        if MULTIPROCESS_DIRECTORY in os.environ:
            counters = CollectorRegistry()
            MultiProcessCollector(counters)  # type: ignore[no-untyped-call]  # has no types
        now = CollectorRegistry()
        now.register(_Now(self._writer.queued_commands, listeners, lag, log))
        return generate_latest(counters) + generate_latest(now)


class _Now(Collector):
    """Figures that are read when they are asked for. No Gauge, which several processes share."""

    def __init__(
        self, queued_commands: int, listeners: int, lag: Lag | None, log: Lag | None
    ) -> None:
        self._figures: dict[str, tuple[str, float]] = {
            "ledger_writer_queued_commands": (
                "Commands waiting to be recorded, in this process",
                queued_commands,
            ),
            "ledger_feed_listeners": ("Who follow the live feed, in this process", listeners),
            "ledger_database_up": ("1 if the database can be reached", lag is not None),
        }
        if lag is not None:
            self._figures |= {
                "ledger_head_position": ("Newest position of the ledger", lag.head),
                "ledger_projection_position": ("Position of the read model", lag.position),
                "ledger_projection_lag_events": ("Events the read model is behind", lag.events),
                "ledger_projection_lag_seconds": ("Age of the oldest of them", lag.seconds),
                "ledger_projection_failed": (
                    "1 if its last run failed",
                    lag.failure is not None,
                ),
            }
        if log is not None:
            self._figures |= {
                "ledger_log_position": ("Position up to which the log has come", log.position),
                "ledger_log_lag_seconds": ("Age of the oldest event that it lacks", log.seconds),
                "ledger_log_failed": ("1 if its last run failed", log.failure is not None),
            }

    def collect(self) -> Iterator[Metric]:
        for name, (meaning, value) in self._figures.items():
            yield GaugeMetricFamily(name, meaning, float(value))


class Counting:
    """Counts and times requests; a pure ASGI middleware, and what the express lane calls."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        # A labelled child is looked up once: the look-up costs more than the counting.
        self._counted = cache(lambda method, status: metrics.requests.labels(method, str(status)))
        self._timed = cache(metrics.seconds.labels)

    def count(self, method: str, status: int, seconds: float | None) -> None:
        """One answer; without `seconds` where it was a stream."""
        if method not in METHODS:
            method = "other"
        self._counted(method, status).inc()
        if seconds is not None:
            self._timed(method).observe(seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500
        streamed = False

        async def sending(message: Message) -> None:
            nonlocal status, streamed
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message.get("more_body", False):
                streamed = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            seconds = None if streamed else time.perf_counter() - started
            self.count(scope["method"], status, seconds)

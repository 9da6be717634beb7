"""Alive, ready, figures."""

import psycopg
from ledger_service import Service


def test_alive_and_ready(service: Service) -> None:
    service.open("4711")
    service.client.get("/api/bookings")  # waits until it is projected
    ready = service.client.get("/readyz").json()

    assert service.client.get("/healthz").json() == {"status": "ok"}
    assert ready["status"] == "ready"
    assert ready["head"] == 1
    assert ready["projections"]["status_history"] == {
        "position": 1,
        "lag": {"events": 0, "seconds": 0.0},
        "failure": None,
    }


def test_lag_is_shown_in_events_and_in_the_age_of_the_oldest(unprojected: Service) -> None:
    unprojected.open("4711")
    unprojected.open("4712")
    lag = unprojected.client.get("/readyz").json()["projections"]["status_history"]["lag"]

    assert lag["events"] == 2
    assert lag["seconds"] > 0


def test_the_last_failure_is_shown_and_calls_it_degraded(
    unprojected: Service, connection: psycopg.Connection
) -> None:
    connection.execute("UPDATE projection SET failed_at = now(), failure = 'UndefinedTable: gone'")
    answer = unprojected.client.get("/readyz")

    assert answer.status_code == 200
    assert answer.json()["status"] == "degraded"
    failure = answer.json()["projections"]["status_history"]["failure"]
    assert failure["message"] == "UndefinedTable: gone"


def test_metrics_in_the_format_of_prometheus(service: Service) -> None:
    service.open("4711")
    text = service.client.get("/metrics").text

    assert 'ledger_http_requests_total{method="POST",status="201"} 1.0' in text
    assert "ledger_head_position 1.0" in text
    assert "ledger_projection_lag_events" in text

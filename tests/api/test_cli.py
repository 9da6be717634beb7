"""The command line: quick to help, one line for what went wrong, JSON where asked for."""

import json
import os
import pty
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from scenes import change_status, open_booking, record

from api.cli import main
from api.cli.group import LazyGroup
from ledger.database import Database
from projections import tables
from projections.audit import audit
from projections.catch_up import catch_up

COMMANDS = list(LazyGroup.commands_by_name)
PROGRAM = (sys.executable, "-c", "from api.cli import main; main()")


def run(*arguments: str, **options: Any) -> Result:
    return CliRunner().invoke(main, arguments, **options)


def run_on(database: Database, *arguments: str) -> Result:
    return run(*arguments, "--database-url", database.url)


@pytest.fixture
def ledger(database: Database) -> Database:
    record(
        database,
        open_booking("A", changed_by="anna", reason="asked", metadata={"b": 1, "a": None}),
        open_booking("B"),
        change_status("A", "confirmed"),
    )
    catch_up(database)
    return database


class TestHelp:
    def test_it_names_every_command(self) -> None:
        result = run("--help")
        assert result.exit_code == 0
        for name in COMMANDS:
            assert f"  {name} " in result.output

    @pytest.mark.parametrize(
        "name", [name for name in COMMANDS if name not in ("keys", "log", "verify-evidence")]
    )
    def test_every_command_has_help_and_the_common_options(self, name: str) -> None:
        result = run(name, "--help")
        assert result.exit_code == 0, result.output
        for option in ("--data-dir", "--database-url", "--workflow"):
            assert option in result.output

    def test_it_imports_nothing_large_and_is_quick(self) -> None:
        code = "import sys; from api.cli import main; main(['--help'], standalone_mode=False); "
        code += "print(sorted({'psycopg','pydantic','fastapi','eventsourcing'} & set(sys.modules)))"
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert done.stdout.endswith("[]\n")
        assert time.monotonic() - started < 2  # 0.05 s on an idle machine

    def test_the_version_is_that_of_the_distribution(self) -> None:
        assert run("--version").output.split()[-1] == "0.1.0"

    def test_no_command_alters_or_deletes(self) -> None:
        assert [
            *("serve", "project", "migrate", "import", "export", "history", "replay"),
            *("verify", "checkpoint", "log", "evidence", "verify-evidence", "erase", "hold"),
            *("release", "rebuild", "keys"),
        ] == COMMANDS


class TestErrors:
    def test_a_refusal_is_one_line_and_exit_code_1(self, ledger: Database) -> None:
        result = run_on(ledger, "history", "nobody")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == "Error: The ledger knows no booking 'nobody'.\n"

    @pytest.mark.parametrize("name", ["history", "replay"])
    def test_what_cannot_be_an_id_is_no_booking(self, ledger: Database, name: str) -> None:
        result = run_on(ledger, name, "a\nb")
        assert (result.exit_code, result.stderr.count("\n")) == (1, 1)

    def test_a_database_that_is_not_there_is_one_line(self) -> None:
        result = run("verify", "--database-url", "postgresql://127.0.0.1:1/x?connect_timeout=1")
        assert result.exit_code == 1
        assert result.stderr.startswith("Error: The database cannot be reached")
        assert result.stderr.count("\n") == 1

    def test_a_url_that_is_none_is_one_line(self) -> None:
        result = run("verify", "--database-url", "postgresql://[")
        assert (result.exit_code, result.stderr.count("\n")) == (1, 1)

    def test_wrong_usage_is_exit_code_2(self) -> None:
        assert run("nothing").exit_code == 2
        assert run("history").exit_code == 2
        assert run("import", "there-is-no-such-file.csv").exit_code == 2

    def test_a_workflow_that_is_none_is_said_before_anything_starts(self, tmp_path: Path) -> None:
        workflow, file = tmp_path / "workflow.toml", tmp_path / "history.csv"
        workflow.write_text("statuses = 1")
        file.write_text("")
        data_dir = tmp_path / "data"
        result = run(
            *("import", str(file), "--workflow", str(workflow), "--data-dir", str(data_dir))
        )
        assert result.exit_code == 1
        assert "'statuses' must be a list of texts" in result.stderr
        assert not data_dir.exists()

    def test_looking_at_a_ledger_makes_none(self, tmp_path: Path, empty_database: Database) -> None:
        for name in (("verify",), ("history", "A"), ("replay",)):
            result = run(*name, "--data-dir", str(tmp_path / "typo"))
            assert (result.exit_code, "There is no ledger in" in result.stderr) == (1, True)
            result = run_on(empty_database, *name)
            assert (result.exit_code, "booking-ledger migrate" in result.stderr) == (1, True)
        assert not (tmp_path / "typo").exists()

    def test_ctrl_c_is_exit_code_130_without_traceback(
        self, ledger: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("projections.audit.CHECKS", (interrupted,))
        result = run_on(ledger, "verify")
        assert (result.exit_code, result.output) == (130, "")


class TestMigrate:
    def test_it_says_what_it_did(self, empty_database: Database) -> None:
        first = run_on(empty_database, "migrate")
        assert first.exit_code == 0
        assert "brought to version" in first.output
        assert "was set up" in first.output
        again = run_on(empty_database, "migrate")
        assert "is at version" in again.output
        assert "is in place" in again.output
        document = json.loads(run_on(empty_database, "migrate", "--json").stdout)
        assert (document["migrated"], document["readModelCreated"]) == (False, False)


class TestHistory:
    def test_json_is_what_http_answers(self, ledger: Database) -> None:
        document = json.loads(run_on(ledger, "history", "A", "--json").stdout)
        assert document["bookingId"] == "A"
        first, second = document["history"]
        assert (first["fromStatus"], first["toStatus"]) == (None, "pending")
        assert (second["fromStatus"], second["toStatus"]) == ("pending", "confirmed")
        assert first["metadata"] == {"b": 1, "a": None}
        assert first["createdAt"].endswith("Z")

    def test_the_table_has_a_line_for_each_status(self, ledger: Database) -> None:
        header, first, second = run_on(ledger, "history", "A").stdout.splitlines()
        assert header.split()[0] == "VERSION"
        assert first.split()[-3:] == ["anna", "asked", '{"b":1,"a":null}']
        assert second.split()[3:] == ["pending", "confirmed", "-", "-", "-"]

    def test_it_needs_no_read_model(self, ledger: Database) -> None:
        with ledger.connect() as connection:
            connection.execute('DROP TABLE "BookingStatusHistory", "Booking" CASCADE')
        assert run_on(ledger, "history", "A").exit_code == 0

    def test_a_terminal_is_not_told_what_to_do_by_a_reason(self, database: Database) -> None:
        record(database, open_booking("A", reason="\x1b[2Jgone\nlost"))
        for name in ("history", "replay"):
            result = run_on(database, name, "A")
            assert "\x1b" not in result.stdout
            assert "\\x1b[2Jgone\\nlost" in result.stdout


class TestReplay:
    def test_one_booking_step_by_step(self, ledger: Database) -> None:
        lines = run_on(ledger, "replay", "A", "--json").stdout.splitlines()
        first, second = map(json.loads, lines)
        assert (first["position"], first["version"], first["type"]) == (1, 1, "Booking.Created")
        assert first["before"] is None
        assert first["after"]["status"] == "pending"
        assert second["before"] == first["after"]
        assert (second["after"]["status"], second["after"]["version"]) == ("confirmed", 2)
        assert second["after"]["createdAt"] == first["occurredAt"]

    def test_all_bookings_in_the_order_of_positions(self, ledger: Database) -> None:
        lines = run_on(ledger, "replay", "--json").stdout.splitlines()
        steps = [json.loads(line) for line in lines]
        assert [step["position"] for step in steps] == [1, 2, 3]
        assert [step["bookingId"] for step in steps] == ["A", "B", "A"]

    def test_bookings_that_were_let_go_of_are_replayed_again(
        self, ledger: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expected = run_on(ledger, "replay", "--json").stdout
        monkeypatch.setattr("projections.replay.BOOKINGS_KEPT_MAX", 1)
        assert run_on(ledger, "replay", "--json").stdout == expected

    def test_people_read_who_what_and_why(self, ledger: Database) -> None:
        output = run_on(ledger, "replay", "A").stdout
        assert "Created: (nothing) → pending" in output
        assert "by anna, because: asked (api-key, front desk)" in output
        assert "now: confirmed, version 2" in output

    def test_a_broken_chain_is_said(self, ledger: Database) -> None:
        with ledger.connect() as connection:
            connection.execute("ALTER TABLE ledger_events DISABLE TRIGGER ALL")
            connection.execute("DELETE FROM ledger_events WHERE notification_id = 1")
        result = run_on(ledger, "replay", "A")
        assert result.exit_code == 1
        assert "verify" in result.stderr


class TestVerify:
    def test_a_sound_ledger_is_exit_code_0(self, ledger: Database) -> None:
        result = run_on(ledger, "verify")
        assert result.exit_code == 0
        assert result.stdout.splitlines()[-1] == "Sound."
        document = json.loads(run_on(ledger, "verify", "--json").stdout)
        counts = ("sound", "events", "bookings", "head", "projectionPosition", "findingsCount")
        assert [document[name] for name in counts] == [True, 3, 2, 3, 3, 0]

    def test_findings_are_listed_and_exit_code_1(self, ledger: Database) -> None:
        with ledger.connect() as connection:
            connection.execute("UPDATE \"Booking\" SET status = 'x' WHERE id = 'A'")
        result = run_on(ledger, "verify")
        assert result.exit_code == 1
        assert "different_value: booking A, version 2, position 3: " in result.stdout
        assert "status is 'x', the events give 'confirmed'" in result.stdout
        assert result.stdout.splitlines()[-1] == "Not sound: 1 found."
        assert result.stderr == ""
        result = run_on(ledger, "verify", "--json")
        assert result.exit_code == 1
        (found,) = json.loads(result.stdout)["findings"]
        assert (found["kind"], found["bookingId"]) == ("different_value", "A")

    def test_it_changes_nothing(self, ledger: Database) -> None:
        with ledger.connect() as connection:
            connection.execute('DROP TABLE "BookingStatusHistory", "Booking" CASCADE')
            assert run_on(ledger, "verify").exit_code == 1
            assert not tables.exist(connection)

    def test_a_login_that_may_only_read_can_audit(self, ledger: Database) -> None:
        with ledger.connect() as connection:
            login = f"auditor_{os.getpid()}"
            connection.execute(f"CREATE ROLE {login} LOGIN")  # type: ignore[arg-type]
            try:
                connection.execute(
                    f"GRANT USAGE ON SCHEMA ledger TO {login};"  # type: ignore[arg-type]
                    f"GRANT SELECT ON ALL TABLES IN SCHEMA ledger TO {login}"
                )
                url = psycopg.conninfo.make_conninfo(ledger.url, user=login)
                result = run("verify", "--database-url", url)
                assert result.exit_code == 0, result.stderr
            finally:
                connection.execute(f"DROP OWNED BY {login}")  # type: ignore[arg-type]
                connection.execute(f"DROP ROLE {login}")  # type: ignore[arg-type]


class TestRebuild:
    def test_it_mends_the_read_model_and_says_how_long_it_took(self, ledger: Database) -> None:
        with ledger.connect() as connection:
            connection.execute("UPDATE \"Booking\" SET status = 'x'")
        result = run_on(ledger, "rebuild")
        assert result.exit_code == 0
        assert "Rebuilt from 3 events" in result.stdout
        assert audit(ledger).sound
        assert json.loads(run_on(ledger, "rebuild", "--json").stdout)["events"] == 3


class TestKeys:
    def test_made_listed_and_revoked(self, database: Database) -> None:
        made = json.loads(
            run_on(
                database, *("keys", "create", "--name", "desk", "--role", "writer", "--json")
            ).stdout
        )
        assert made["secret"].startswith("bl_")
        listed = run_on(database, "keys", "list")
        assert made["id"] in listed.stdout
        assert made["secret"] not in listed.stdout
        assert run_on(database, "keys", "revoke", made["id"]).exit_code == 0
        (key,) = json.loads(run_on(database, "keys", "list", "--json").stdout)["keys"]
        assert (key["name"], key["role"]) == ("desk", "writer")
        assert key["revokedAt"] is not None

    def test_the_secret_is_shown_once_with_a_warning(self, database: Database) -> None:
        result = run_on(database, "keys", "create", "--name", "desk", "--role", "reader")
        assert "secret  bl_" in result.stdout
        assert "not shown again" in result.stderr

    def test_what_cannot_be_is_refused(self, database: Database) -> None:
        assert run_on(database, "keys", "revoke", "none").exit_code == 1
        assert run_on(database, "keys", "create", "--name", "x", "--role", "god").exit_code == 2
        assert run_on(database, "keys", "create", "--name", "", "--role", "reader").exit_code == 1


class TestOutput:
    def test_progress_goes_to_a_terminal_and_not_into_json(self, ledger: Database) -> None:
        terminal, end = pty.openpty()
        termios.tcsetwinsize(end, (24, 80))
        done = subprocess.run(
            [*PROGRAM, "verify", "--json", "--database-url", ledger.url],
            stdout=subprocess.PIPE,
            stderr=end,
            check=True,
        )
        os.close(end)
        assert json.loads(done.stdout)["sound"]
        assert b"verify" in os.read(terminal, 10_000)
        os.close(terminal)

    def test_a_reader_that_goes_away_is_no_error(self, ledger: Database) -> None:
        command = [*PROGRAM, "replay", "--database-url", ledger.url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            assert process.stderr.read() == b""

    def test_the_embedded_database_is_the_default(self, tmp_path: Path) -> None:
        data_dir = ("--data-dir", str(tmp_path / "data"))
        file = tmp_path / "history.csv"
        file.write_text("bookingId,toStatus,createdAt\nA,pending,2026-01-01T10:00:00Z\n")
        assert run("import", str(file), *data_dir).exit_code == 0
        assert json.loads(run("history", "A", "--json", *data_dir).stdout)["bookingId"] == "A"
        assert run("verify", *data_dir).exit_code == 0

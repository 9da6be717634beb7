"""The transparency log by real processes: signed while they run, whole after they are killed."""

from pathlib import Path

import httpx
from ledger_processes import Processes, open_bookings, wait_for

from projections.log.checkpoints import Checkpoint, parse_checkpoint
from projections.log.notes import parse_vkey


def newest(client: httpx.Client) -> Checkpoint | None:
    answer = client.get("/log/checkpoint")
    return parse_checkpoint(answer.content) if answer.status_code == 200 else None


def wait_for_size(client: httpx.Client, size: int) -> Checkpoint:
    def reached() -> Checkpoint | None:
        found = newest(client)
        return found if found is not None and found.size >= size else None

    return wait_for(reached, f"a checkpoint of {size}")


def test_a_killed_projector_goes_on_with_the_log(
    started: Processes, data_dir: Path, tmp_path: Path
) -> None:
    server = started.serve(data_dir)
    kept = tmp_path / "kept.txt"
    with server.client() as client:
        for part in range(5):
            open_bookings(client, [f"{part}-{number}" for number in range(40)])
            if part % 2 == 0:
                server.projector().kill()
        checkpoint = wait_for_size(client, 200)
        vkey = parse_vkey(client.get("/log/vkey").text.strip())
        assert checkpoint.verify([vkey]) == [vkey]
        assert checkpoint.size == 200
        place = ("--data-dir", str(data_dir))
        done = started.run("checkpoint", "--out", str(kept), *place)
        assert done.returncode == 0, done.stderr
        assert kept.read_text() == client.get("/log/checkpoint").text
    server.kill()
    done = started.run("verify", "--checkpoint", str(kept), "--vkey", vkey.vkey, *place)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Sound." in done.stdout


def test_the_master_key_is_in_the_data_directory_wherever_the_server_is_started(
    started: Processes, data_dir: Path
) -> None:
    server = started.serve(data_dir, LEDGER_MASTER_KEY="")
    with server.client() as client:
        wait_for_size(client, 0)
    server.end()

    assert (data_dir / "master.key").stat().st_mode & 0o777 == 0o600
    again = started.serve(data_dir, LEDGER_MASTER_KEY="")
    with again.client() as client:
        open_bookings(client, ["after"])
        wait_for_size(client, 1)

"""`python -m benchmarks.proofs`: size and time of proofs in logs of several sizes.

The leaves are made up; tiles and checkpoints are in a real PostgreSQL, as in a ledger.
"""

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

import psycopg

from api.embedded import embedded_postgres
from ledger.database import Database
from ledger.schema import migrate
from projections.follower import ADVANCE
from projections.log import checkpoint_table, latest_table, signing_keys, tile_table
from projections.log.checkpoints import LatestRoot, sign_checkpoint
from projections.log.growth import GrowingTree
from projections.log.latest import LatestEvents
from projections.log.merkle import (
    EMPTY_ROOT,
    leaf_hash,
    root,
    verify_consistency,
    verify_inclusion,
)
from projections.log.notes import Signer
from projections.log.reading import prove_consistency, prove_inclusion, prove_latest
from projections.log.tiles import TileNodes
from projections.runner import ensure

SIZES = (10_000, 10_000_000)
BATCH = 100_000
SAMPLES = 500
SIGNER = Signer("log.example/benchmark", b"s" * 32)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o711)
        with embedded_postgres(Path(directory)) as url:
            for size in SIZES:
                database = Database(url, f"log_{size}")
                migrate(database)
                ensure(database)
                with database.connect() as connection:
                    measure(connection, size)
                    measure_latest(connection, size)


def measure(connection: psycopg.Connection, size: int) -> None:
    seconds = fill(connection, size)
    chosen = random.Random(size)
    positions = [chosen.randrange(size) + 1 for _ in range(SAMPLES)]
    proofs = [prove_inclusion(connection, position) for position in positions]
    checkpoint = proofs[0].checkpoint
    sizes = [chosen.randrange(1, size) for _ in range(SAMPLES)]
    nodes = nodes_of(connection)
    print(f"{size:,} leaves, hashed into tiles and stored at {size / seconds:,.0f}/s")
    lengths = [len(str(proof)) for proof in proofs]
    hashes = max(len(proof.hashes) for proof in proofs)
    print(f"  inclusion: up to {hashes} hashes, text of {min(lengths)} to {max(lengths)} bytes")
    show("make", timed(lambda position: prove_inclusion(connection, position), positions))
    leaves = [leaf(position - 1) for position in positions]
    at = dict(zip(positions, zip(leaves, proofs, strict=True), strict=True))

    def check(position: int) -> None:
        own, proof = at[position]
        assert verify_inclusion(own, position - 1, size, proof.hashes, checkpoint.root)

    show("check", timed(check, positions))
    roots = {old: root(old, nodes) for old in sizes}
    consistent = {old: prove_consistency(connection, old, size).hashes for old in sizes}
    print(f"  consistency: up to {max(map(len, consistent.values()))} hashes")
    show("make", timed(lambda old: prove_consistency(connection, old, size), sizes))

    def check_consistency(old: int) -> None:
        assert verify_consistency(old, size, roots[old], checkpoint.root, consistent[old])

    show("check", timed(check_consistency, sizes))
    show("verify a signature", timed(lambda _: checkpoint.verify([SIGNER.verifier]), sizes))


def measure_latest(connection: psycopg.Connection, size: int) -> None:
    """Two events of five are the latest of their booking, and all are equally likely to be."""
    chosen = random.Random(size)
    latest = LatestEvents()
    latest.append(size)
    for index in chosen.sample(range(size), size * 3 // 5):
        latest.supersede(index)
    keep(connection, latest)
    signed = LatestRoot(latest.root(), None)
    checkpoint = sign_checkpoint(SIGNER.verifier.name, size, EMPTY_ROOT, [SIGNER], signed)
    positions = [chosen.randrange(size) + 1 for _ in range(20)]
    proofs = [prove_latest(connection, checkpoint, position) for position in positions]
    hashes = max(len(proof.hashes) for proof in proofs if proof is not None)
    print(f"  latest: a page and up to {hashes} hashes")
    show("make", timed(lambda at: prove_latest(connection, checkpoint, at), positions))
    show("read all", timed(lambda _: latest_table.read(connection, size), positions))

    def log(count: int) -> None:
        latest.append(count)
        for index in chosen.sample(range(size), count):
            latest.supersede(index)
        keep(connection, latest)

    show("log 10,000 events", timed(log, [10_000] * 10))
    show("log one event", timed(log, [1] * 200))


def keep(connection: psycopg.Connection, latest: LatestEvents) -> None:
    with connection.transaction():
        latest_table.write(connection, latest.hash_changes())
        connection.execute(ADVANCE, (latest.size, tile_table.NAME))


def fill(connection: psycopg.Connection, size: int) -> float:
    started = time.monotonic()
    for first in range(0, size, BATCH):
        tree = GrowingTree(first, edge(connection, first))
        for index in range(first, min(size, first + BATCH)):
            tree.append(leaf(index))
        with connection.transaction():
            tile_table.write_tiles(connection, tree.changed_tiles())
    seconds = time.monotonic() - started
    signed = sign_checkpoint(SIGNER.verifier.name, size, root(size, nodes_of(connection)), [SIGNER])
    checkpoint_table.keep(connection, signed)
    connection.execute("ANALYZE log_tile")
    assert signing_keys.verifiers(connection) == []
    return seconds


def edge(connection: psycopg.Connection, size: int) -> dict[tile_table.Tile, bytes]:
    from projections.log.tiles import last_tiles

    wanted = [tile for tile, _ in last_tiles(size)]
    return tile_table.read_tiles(connection, wanted) if wanted else {}


def leaf(index: int) -> bytes:
    return leaf_hash(index.to_bytes(8, "big"))


def nodes_of(connection: psycopg.Connection) -> TileNodes:
    return TileNodes(lambda wanted: tile_table.read_tiles(connection, wanted))


def timed(work: Callable[[int], object], numbers: list[int]) -> list[float]:
    seconds = []
    for number in numbers:
        started = time.perf_counter()
        work(number)
        seconds.append(time.perf_counter() - started)
    return seconds


def show(title: str, seconds: list[float]) -> None:
    p99 = quantiles(seconds, n=100)[98]
    print(f"    {title}: median {median(seconds) * 1e3:.3f} ms, p99 {p99 * 1e3:.3f} ms")


if __name__ == "__main__":
    main()

"""A process of `projections.filling`: fills the chunks that its standard input names."""

import base64
import dataclasses
import json
import signal
import sys

from ledger.database import Database
from ledger.master_key import MasterKey
from ledger.transcoder import event_mapper
from projections.filling import fill_chunk, set_up


def main() -> None:
    # Terminals signal the whole group; the parent decides when we end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    setup = json.loads(sys.stdin.readline())
    master_key = MasterKey(base64.b64decode(setup["masterKey"]))
    database = Database(setup["url"], setup["schema"], master_key)
    mapper = event_mapper(database)
    with database.connect() as connection:
        set_up(connection)
        for line in sys.stdin:
            filled = fill_chunk(connection, mapper, setup["table"], *json.loads(line))
            sys.stdout.write(json.dumps(dataclasses.asdict(filled)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()

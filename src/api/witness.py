"""Have a checkpoint cosigned by a witness (C2SP tlog-witness), and keep what it signed."""

import http.client
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import psycopg

from ledger.errors import LedgerError
from projections.log import checkpoint_table
from projections.log.checkpoint_table import KeptCheckpoint
from projections.log.notes import (
    COSIGNATURE,
    BadNote,
    Note,
    Signature,
    Verifier,
    encode_base64,
    parse_note,
    parse_signature,
)
from projections.log.reading import NotInLog, newest_checkpoint, prove_consistency

TIMEOUT_SECONDS = 10.0
ANSWER_BYTES_MAX = 65_536
ATTEMPTS = 3
TIMESTAMP_BYTES = 8


class WitnessError(LedgerError):
    """The witness did not sign"""


class Witness:
    """A witness by the prefix of its address, and the key that its cosignatures must be of."""

    def __init__(self, url: str, verifier: Verifier) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise WitnessError(f"{url!r} is no address of a witness: it must begin with https://.")
        if verifier.kind != COSIGNATURE:
            raise WitnessError(f"The key of {verifier.name} is not one of cosignatures (type 4).")
        self._url = f"{url.rstrip('/')}/add-checkpoint"
        self._verifier = verifier

    def cosign(self, connection: psycopg.Connection) -> KeptCheckpoint:
        """The newest checkpoint with the witness's signature, which is kept with it.

        Raises WitnessError where the witness refuses, cannot be reached or signs something else.
        """
        kept = newest_checkpoint(connection)
        old_size = self._last_size(connection)
        for _ in range(ATTEMPTS):
            status, answer = self._post(_request(connection, old_size, kept))
            if status == 200:
                line = self._verified(kept, answer)
                checkpoint_table.keep_cosignature(connection, kept.size, line)
                found = checkpoint_table.at_size(connection, kept.size)
                assert found is not None
                return found
            if status != 409:
                break
            old_size = _size(answer)
            if old_size > kept.size:
                raise WitnessError(
                    f"The witness has seen this log at size {old_size}, it has {kept.size} now: "
                    "restored from a backup, or cut short?"
                )
        raise WitnessError(f"The witness answered {status}: {answer[:200].strip() or 'nothing'}")

    def _last_size(self, connection: psycopg.Connection) -> int:
        """The largest size that it has signed, as far as we have kept it."""
        for size, line in checkpoint_table.cosignatures(connection):
            if self._is_ours(parse_signature(line.rstrip("\n"))):
                return size
        return 0

    def _post(self, body: str) -> tuple[int, str]:
        request = urllib.request.Request(  # noqa: S310  # the scheme was looked at
            self._url, body.encode(), {"Content-Type": "text/plain"}, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
                return answer.status, _text(answer.read(ANSWER_BYTES_MAX))
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _text(error.read(ANSWER_BYTES_MAX))
        except (OSError, http.client.HTTPException) as error:
            raise WitnessError(f"The witness at {self._url} cannot be reached: {error}") from error

    def _verified(self, kept: KeptCheckpoint, answer: str) -> str:
        text = kept.parsed().note.text
        try:
            note = parse_note(f"{text}\n{answer}")
            signature = next(filter(self._is_ours, note.signatures), None)
            if signature is None:
                raise WitnessError(f"The witness sent no signature of {self._verifier.name}.")
            Note(text, (signature,)).verify([self._verifier])
        except BadNote as error:
            raise WitnessError(f"What the witness sent is not a cosignature: {error}") from error
        if int.from_bytes(signature.signature[:TIMESTAMP_BYTES], "big") == 0:
            raise WitnessError("The witness signed without a time.")
        return signature.line

    def _is_ours(self, signature: Signature) -> bool:
        return (signature.name, signature.key_id) == (self._verifier.name, self._verifier.key_id)


def _request(connection: psycopg.Connection, old_size: int, kept: KeptCheckpoint) -> str:
    try:
        proof = prove_consistency(connection, old_size, kept.size)
    except NotInLog as error:
        raise WitnessError(f"No proof can be made for the witness: {error}") from error
    hashes = "".join(f"{encode_base64(one)}\n" for one in proof.hashes)
    return f"old {old_size}\n{hashes}\n{kept.parsed().note}"


def _size(answer: str) -> int:
    text = answer.removesuffix("\n")
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise WitnessError("The witness answered 409 without the size that it has seen.")
    return int(text)


def _text(answer: bytes) -> str:
    return answer.decode("utf-8", "replace")

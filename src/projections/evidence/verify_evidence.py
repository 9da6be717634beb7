"""Check an evidence file of Booking Ledger, offline: `python verify_evidence.py FILE`.

This one file needs Python 3.9 or newer and the package `cryptography`; nothing of Booking Ledger.
Formats: RFC 6962 (Merkle tree), C2SP signed-note and tlog-checkpoint, and docs/record-format.md.
docs/evidence.md says what an evidence file proves and what it does not.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import html
import json
import sys
from typing import Any, Optional

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FORMAT = "booking-ledger/evidence/2"
LATEST = "booking-ledger/latest/1"
PAGE_EVENTS = 8192
BEGIN, END = '<script type="application/json" id="evidence">', "</script>"
STYLE = """
:root{color-scheme:light dark;--line:#8885;--soft:#8881}
body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:3rem auto;padding:0 1rem}
h1{font-size:1.6rem;line-height:1.25;overflow-wrap:anywhere}h2{font-size:1.1rem;margin-top:2.5rem}
ol{list-style:none;padding:0}li{border-left:3px solid var(--line);padding:0 0 1.2rem 1rem}
time,code,pre{font-variant-numeric:tabular-nums;font-size:.9em}.status{font-weight:600}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;margin:.3rem 0}dt{opacity:.7}
dd{margin:0;overflow-wrap:anywhere}pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:0}
.note{background:var(--soft);padding:.8rem 1rem;border-radius:.4rem}
@media print{body{margin:0;max-width:none}li{break-inside:avoid}}
"""


class NotSound(Exception):
    """The file does not prove what it says"""


def verify(text: str, trusted: Optional[str] = None) -> dict[str, Any]:
    """What the file proves: booking, events, complete, extent, checkpoint, vkey, trusted.

    `complete`: these are all changes of the booking among the first `size` events of the
    checkpoint, and so all that were recorded at its `asOf`, if it has one. `extent` says it in
    words.
    `trusted` is a verifier key that must have signed it, beside the one in the file, which alone
    proves nothing about who signed. Raises NotSound.
    """
    evidence = _data(text)
    try:
        if evidence["format"] != FORMAT:
            raise NotSound(f"The format is {evidence['format']!r}, not {FORMAT!r}.")
        origin, size, root, latest = _checkpoint(evidence["checkpoint"], evidence["vkey"])
        if trusted is not None:
            _checkpoint(evidence["checkpoint"], trusted)
        events = [_event(one, size, root) for one in evidence["events"]]
        _chain(evidence["booking"], events)
        if latest is not None:
            _complete(evidence["latest"], events[-1], size, latest[0])
        rendered = render(evidence)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise NotSound(f"The data of the file are not as they must be: {error!r}.") from error
    if rendered != text:
        raise NotSound("The page does not say what its data say.")
    return {
        "booking": evidence["booking"],
        "events": events,
        "complete": latest is not None,
        "extent": _extent(size, latest),
        "checkpoint": {
            "origin": origin,
            "size": size,
            "root": base64.b64encode(root).decode(),
            "asOf": latest and latest[1],
        },
        "vkey": trusted or evidence["vkey"],
        "trusted": trusted is not None,
    }


def _data(text: str) -> dict[str, Any]:
    before, begin, rest = text.partition(BEGIN)
    data, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in after or BEGIN in before:
        raise NotSound("This is no evidence file: the block with its data is missing.")
    try:
        found = json.loads(data)
    except ValueError as error:
        raise NotSound(f"The data of the file cannot be read: {error}.") from error
    if not isinstance(found, dict):
        raise NotSound("The data of the file are not an object.")
    return found


Latest = tuple[bytes, Optional[str]]


def _checkpoint(note: str, vkey: str) -> tuple[str, int, bytes, Optional[Latest]]:
    """Origin, size, root and what is said of latest events, of a checkpoint that the key signed."""
    name, key_id, public_key = _vkey(vkey)
    body, _, signatures = note.partition("\n\n")
    body += "\n"
    for line in signatures.splitlines():
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != "\u2014" or parts[1] != name:
            continue
        signature = _decoded(parts[2])
        if signature[:4] != key_id:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(signature[4:], body.encode())
        except InvalidSignature:
            break
        origin, size, root = body.split("\n")[:3]
        if origin != name:
            raise NotSound("The checkpoint is of another log than the key.")
        return origin, int(size), _decoded(root), _latest(note)
    raise NotSound("The checkpoint is not signed by the key.")


def _latest(note: str) -> Optional[Latest]:
    """The root over the latest events of all bookings, and when all recorded was among them.

    None in a checkpoint that does not say which are the latest.
    """
    lines = [line.split(" ") for line in note.partition("\n\n")[0].split("\n")[3:]]
    found = [words for words in lines if words[0] == LATEST]
    if not found:
        return None
    if len(found) > 1 or len(found[0]) not in (2, 3):
        raise NotSound(f"The line {LATEST} of the checkpoint is not as it must be.")
    return _decoded(found[0][1]), found[0][2] if len(found[0]) == 3 else None


def _complete(proof: dict[str, Any], last: dict[str, Any], size: int, root: bytes) -> None:
    """The checkpoint says that no later event has the booking of the last one shown."""
    page, hashes = _decoded(proof["page"]), [_decoded(one) for one in proof["hashes"]]
    number, bit = divmod(last["position"] - 1, PAGE_EVENTS)
    leaf, pages = hashlib.sha256(b"\0" + page).digest(), -(-size // PAGE_EVENTS)
    if len(page) * 8 != PAGE_EVENTS or _root(leaf, number, pages, hashes) != root:
        raise NotSound("The page of latest events is not that of the checkpoint.")
    if not page[bit // 8] >> bit % 8 & 1:
        raise NotSound("The booking has a later event than the last one shown.")


def _vkey(vkey: str) -> tuple[str, bytes, bytes]:
    name, _, rest = vkey.partition("+")
    key_id, _, encoded = rest.partition("+")
    key = _decoded(encoded)
    digest = hashlib.sha256(name.encode() + b"\n" + key).digest()[:4]
    if len(key) != 33 or key[0] != 1 or digest.hex() != key_id:
        raise NotSound("The verifier key is not an Ed25519 key of a signed note.")
    return name, digest, key[1:]


def _event(one: dict[str, Any], size: int, root: bytes) -> dict[str, Any]:
    """One event, if it is in the tree."""
    entry, index = _decoded(one["entry"]), one["index"]
    hashes = [_decoded(item) for item in one["hashes"]]
    if _root(hashlib.sha256(b"\0" + entry).digest(), index, size, hashes) != root:
        raise NotSound(f"The event at index {index} is not in the tree of the checkpoint.")
    line: dict[str, Any] = json.loads(entry)
    if line["position"] != index + 1:
        raise NotSound(f"The entry at index {index} names another position.")
    if "data" in one:  # too long for the log, which has its hash
        state = _decoded(one["data"])
        if hashlib.sha256(state).hexdigest() != line["dataSha256"]:
            raise NotSound(f"The data of the event at index {index} are not those of its entry.")
        line["data"] = json.loads(state)
    line["personal"] = _personal(one, line["data"])
    return line


def _personal(one: dict[str, Any], data: dict[str, Any]) -> Optional[dict[str, Any]]:
    """What the event says of persons; None where its key is not in the file.

    The hash of the key stands before what it sealed, so no other key can make it say another
    thing.
    """
    sealed = data["sealed"]
    if sealed is None:
        return {}
    if "key" not in one:
        return None
    key, content = _decoded(one["key"]), _decoded(sealed)
    if hashlib.sha256(key).digest() != content[:32]:
        raise NotSound("A key is not the one that the event was sealed with.")
    try:
        found = json.loads(AESGCM(key).decrypt(content[32:44], content[44:], None))
    except InvalidTag as error:
        raise NotSound("What is sealed in an event does not open.") from error
    if not isinstance(found, dict):
        raise NotSound("What is sealed in an event is not an object.")
    return found


def _root(found: bytes, index: int, size: int, hashes: list[bytes]) -> Optional[bytes]:
    """The root that an audit path leads to (RFC 9162, section 2.1.3.2); None where it cannot."""
    if not isinstance(index, int) or not 0 <= index < size:
        return None
    last = size - 1
    for one in hashes:
        if last == 0 or len(one) != 32:
            return None
        if index % 2 == 1 or index == last:
            found = hashlib.sha256(b"\1" + one + found).digest()
            while index % 2 == 0 and index != 0:
                index, last = index >> 1, last >> 1
        else:
            found = hashlib.sha256(b"\1" + found + one).digest()
        index, last = index >> 1, last >> 1
    return found if last == 0 else None


def _chain(booking: str, events: list[dict[str, Any]]) -> None:
    """Versions 1, 2, 3 … of this booking, each from the status that the one before led to."""
    if not events:
        raise NotSound("There is no event in the file.")
    before, position = None, 0
    for version, event in enumerate(events, 1):
        if event["booking"] != booking or event["version"] != version:
            raise NotSound(f"Version {version} of the booking is missing, or another's.")
        if event["position"] <= position or event["data"]["from_status"] != before:
            raise NotSound(f"Version {version} does not go on where the one before ended.")
        before, position = event["data"]["to_status"], event["position"]


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise NotSound(f"Something that should be base64 is not: {error}.") from error


def render(evidence: dict[str, Any]) -> str:
    """The file: a page to read and print, and the data that it is made of."""
    booking, note = html.escape(evidence["booking"]), evidence["checkpoint"]
    extent = _extent(note.split("\n")[1], _latest(note))
    events = "".join(_shown(one) for one in evidence["events"])
    data = json.dumps(evidence, ensure_ascii=True, sort_keys=True).replace("<", "\\u003c")
    style = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{style}'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>Evidence: {booking}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>What happened to booking <bdi>{booking}</bdi></h1>\n"
        f"<ol>\n{events}</ol>\n<h2>What this proves</h2>\n"
        "<p>Each event above is in the ledger's log as it stands here, at its position, with no "
        "version left out in between. The signed checkpoint below vouches for it.</p>\n"
        f"<p>{html.escape(extent)} It does not prove that what was recorded is what really "
        "happened.</p>\n"
        '<p class="note">A page can be forged. Do not believe this one before '
        "<code>booking-ledger verify-evidence FILE</code> or <code>python verify_evidence.py "
        "FILE</code> has accepted the file with a verifier key that you have from the operator "
        "by another way.</p>\n"
        f"<h2>Checkpoint</h2>\n<pre>{html.escape(note)}</pre>\n"
        f"<h2>Verifier key</h2>\n<pre>{html.escape(evidence['vkey'])}</pre>\n</main>\n"
        f"{BEGIN}{data}{END}\n</body>\n</html>\n"
    )


def _extent(size: object, latest: Optional[Latest]) -> str:
    """Up to where the events shown are all changes of the booking, in words."""
    if latest is None:
        return "There may be later events than the last one shown."
    up_to = f"These are all changes of the booking up to position {size} of the ledger"
    if latest[1] is None:
        return f"{up_to}."
    return f"{up_to}, and so all that it had recorded at {latest[1]} by its own clock."


def _shown(one: dict[str, Any]) -> str:
    line = json.loads(_decoded(one["entry"]))
    data = json.loads(_decoded(one["data"])) if "data" in one else line["data"]
    personal = _personal(one, data)
    said = personal or {}
    metadata = said.get("metadata")
    hidden = "not in this file: it was erased, or is kept back"
    facts = [
        ("occurred", data["occurred_at"]),
        ("recorded", data["timestamp"]),
        ("who, why", hidden if personal is None else None),
        ("by", None if personal is None else said.get("changed_by", "the system")),
        ("reason", said.get("reason")),
        ("metadata", metadata and json.dumps(metadata, ensure_ascii=False)),
        ("claimed from", data["claimed_from_status"]),
        ("came by", f"{data['actor']}, {data['source']}"),
        ("place", f"version {line['version']}, position {line['position']}"),
    ]
    shown = "".join(
        f"<dt>{name}</dt><dd><bdi>{html.escape(value)}</bdi></dd>" for name, value in facts if value
    )
    return f'<li><bdi class="status">{html.escape(data["to_status"])}</bdi><dl>{shown}</dl></li>\n'


def main(arguments: Optional[list[str]] = None) -> int:
    """Exit code 0 if the file holds, 1 if it does not, 2 for wrong use."""
    parser = argparse.ArgumentParser(description="Check an evidence file of Booking Ledger.")
    parser.add_argument("file")
    parser.add_argument("--vkey", help="the operator's verifier key, from another source")
    options = parser.parse_args(arguments)
    try:
        with open(options.file, encoding="utf-8", newline="") as file:
            found = verify(file.read(), options.vkey)
    except (NotSound, UnicodeDecodeError) as error:
        print(f"NOT SOUND: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        parser.error(str(error))
    print(summary(found))
    return 0


def summary(found: dict[str, Any]) -> str:
    """What was proven, in lines for people."""
    size, vkey = found["checkpoint"]["size"], found["vkey"]
    said = f"{len(found['events'])} events, in the log of {size} signed by {vkey}"
    lines = [f"Sound: {found['booking']!r}, {said}"]
    if not found["trusted"]:
        lines.append("The key is the file's own. Compare it with the operator's, or give --vkey.")
    for event in found["events"]:
        data = event["data"]
        lines.append(f"{event['version']:4} {data['occurred_at']} {data['to_status']!r}")
    lines.append(found["extent"])
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

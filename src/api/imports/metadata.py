"""The metadata of rows, and what is hashed of it: the same whoever wrote the JSON."""

import json
import re
from collections.abc import Sequence
from typing import Any

import orjson

from api.imports.formats import OneByOne
from ledger.errors import InvalidField
from ledger.limits import METADATA_BYTES_MAX, METADATA_DEPTH_MAX, canonical_metadata

Metadata = dict[str, Any] | None

_stable_json = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode

# Texts of floats, some of which were integers before the quick parser made the nearest float of
# them, and which JSON writers do not agree on. Most metadata has none.
_EXPONENT = re.compile(rb"e[-+]?[0-9]")  # alone takes half as long, and most have none of it
_FLOAT = re.compile(rb"[0-9]e[-+]?[0-9]")
# One of them, or a text that has one behind such a sign; others, such as UUIDs, have it elsewhere.
_NUMBER = re.compile(rb"[:,\[]-?[0-9]+(?:\.[0-9]+)?e[-+]?[0-9]")
_SHALLOW_LENGTH = 2 * METADATA_DEPTH_MAX
"""JSON that is as short is not nested too deeply."""
_OBJECTS = frozenset((dict, type(None)))


def read_metadata(value: object) -> tuple[Metadata, orjson.Fragment | None]:
    """The metadata, and as canonical JSON: sorted keys, no spaces. Raises InvalidField."""
    if isinstance(value, str):
        try:
            metadata = orjson.loads(value)
        except ValueError as error:
            raise InvalidField("metadata", f"is not JSON: {error}") from error
    else:
        metadata = value
    if metadata is None:
        return None, None
    if not isinstance(metadata, dict):
        raise InvalidField("metadata", "must be a JSON object")
    canonical = canonical_metadata(metadata)
    if _EXPONENT.search(canonical) and _FLOAT.search(canonical):
        if isinstance(value, str):
            metadata = json.loads(value)
            canonical_metadata(metadata)
        canonical = _stable_json(metadata).encode()
    return metadata, orjson.Fragment(canonical)


def read_all_metadata(
    values: Sequence[object],
) -> tuple[Sequence[Metadata], Sequence[orjson.Fragment | None]]:
    """The same of many. Raises OneByOne."""
    try:
        found: list[Any] = [
            orjson.loads(value or "null") if isinstance(value, str) else value for value in values
        ]
        canonical = [
            None if one is None else orjson.dumps(one, option=orjson.OPT_SORT_KEYS) for one in found
        ]
    except (orjson.JSONDecodeError, orjson.JSONEncodeError) as error:
        raise OneByOne from error
    given = list(filter(None, canonical))
    joined = b" ".join(given)
    if not _OBJECTS.issuperset(map(type, found)) or b"\\u0000" in joined or _have_large(given):
        raise OneByOne
    fragments = [None if one is None else orjson.Fragment(one) for one in canonical]
    if _EXPONENT.search(joined) and _FLOAT.search(joined):
        if _NUMBER.search(joined):
            raise OneByOne
        _write_stably(found, canonical, fragments)
    return found, fragments


def _write_stably(
    found: Sequence[Metadata],
    canonical: Sequence[bytes | None],
    fragments: list[orjson.Fragment | None],
) -> None:
    """As `read_metadata` does where a text looks like a float."""
    for place, document in enumerate(canonical):
        if document is not None and _EXPONENT.search(document) and _FLOAT.search(document):
            fragments[place] = orjson.Fragment(_stable_json(found[place]).encode())


def _have_large(documents: Sequence[bytes]) -> bool:
    """Whether `read_metadata` would look at any more closely, or refuse it."""
    return any(
        len(document) > _SHALLOW_LENGTH
        and (
            len(document) > METADATA_BYTES_MAX
            or document.count(b"{") + document.count(b"[") > METADATA_DEPTH_MAX
        )
        for document in documents
    )

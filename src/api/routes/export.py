"""The history as a file, streamed."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response, StreamingResponse

from api.gate import ReaderRole
from api.routes.analytics import AsOfPosition
from api.routes.contract import problems
from api.routes.lists import HistoryFilter
from api.store import TheStore
from projections.analytics.question import moment
from projections.exports.formats import FORMATS
from projections.exports.source import Export

router = APIRouter(prefix="/api/export", tags=["export"])

_FILE: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_DOCUMENT: dict[str, Any] = {"schema": {"type": "object"}}
_CONTENT = {one.media_type: _FILE for one in FORMATS.values()}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file",
        "content": {**_CONTENT, FORMATS["ocel"].media_type: _DOCUMENT},
        "headers": {
            "Ledger-Position": {
                "description": "Position that the file is true for",
                "schema": {"type": "integer"},
            },
            "Content-Disposition": {
                "description": "A name for the file",
                "schema": {"type": "string"},
            },
        },
    },
    **problems("invalid-request", "invalid-value", "projection-behind", "extra-missing"),
}


@router.get("", response_class=Response, responses=RESPONSES)
def export(
    key: ReaderRole,
    store: TheStore,
    format_: Annotated[Literal["csv", "ndjson", "parquet", "xes", "ocel"], Query(alias="format")],
    chosen: HistoryFilter,
    as_of_position: AsOfPosition = None,
) -> Response:
    """The history by booking and version, as it was right after a position.

    The filters choose changes, as in the list of history. An answer that ends early is broken
    off, not shorter: its last chunk is missing.
    """
    del key
    chosen_format = FORMATS[format_]
    chosen_format.require()
    with store.connection() as connection:
        at = moment(connection, as_of_position)
    name = f"status-history-{at.position}.{chosen_format.suffix}"
    return StreamingResponse(
        chosen_format.chunks(Export(store.connection, at.position, chosen)),
        headers={
            "Ledger-Position": str(at.position),
            "Cache-Control": "private, no-store",
            "Content-Disposition": f'attachment; filename="{name}"',
        },
        media_type=chosen_format.media_type,
    )

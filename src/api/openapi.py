"""The OpenAPI document: what FastAPI cannot know of the contract, or says wrongly."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from api.gate import OPEN_PATHS
from api.routes import contract

STREAM = "/api/events/stream"


def complete(document: dict[str, Any]) -> None:
    """Complete a document as FastAPI generates it."""
    schemas = document["components"]["schemas"]
    document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"key": []}]
    for path in OPEN_PATHS:
        document["paths"][path]["get"]["security"] = []
    for operation in _operations(document):
        # FastAPI's own shape of 422 is never sent.
        operation["responses"].get("422", {}).get("content", {}).pop("application/json", None)
        for parameter in operation.get("parameters", ()):
            parameter["schema"] = _without_null(parameter["schema"])
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    # The items of a stream are described with a keyword of 3.2, in a document of 3.1.
    stream = document["paths"][STREAM]["get"]["responses"]["200"]
    stream["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
    _put_back_examples(schemas)


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter is left out or has a text; it cannot be null."""
    choices = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if len(choices) != 1:
        return schema
    return {**choices[0], **{name: value for name, value in schema.items() if name != "anyOf"}}


def _put_back_examples(schemas: dict[str, Any]) -> None:
    """FastAPI drops the nulls out of examples, and nulls are required."""
    for name, model in vars(contract).items():
        if name in schemas and isinstance(model, type) and issubclass(model, BaseModel):
            extra = model.model_config.get("json_schema_extra")
            if isinstance(extra, dict):
                schemas[name] |= extra

"""The API described in the OpenAPI format, made of the endpoints themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable

from daskperiment.dashboard.endpoint import PATH_PARTS, Endpoint, Query
from daskperiment.typing import Document

_PART = re.compile(r"<(?:\w+:)?(\w+)>")
_ERROR = {"$ref": "#/components/schemas/Error"}
_FAILURES = {
    "400": "The query is none: the message says why.",
    "401": "The token is missing or wrong.",
    "403": "The host or the origin of the request is not allowed.",
    "404": "There is no such experiment, trial or part of it, or it was not kept.",
    "422": "What others have written to the store cannot be read.",
    "503": "The store cannot be reached now.",
}
_ERROR_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
        }
    },
}


def description(endpoints: Iterable[Endpoint], version: str) -> Document:
    """The description of all endpoints, an OpenAPI 3.1 document.

    Parameters
    ----------
    endpoints : iterable of Endpoint
        The endpoints.
    version : str
        Version of the package.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "daskperiment dashboard",
            "version": version,
            "description": "Experiments and trials of one store, read only.  JSON has no NaN and "
            'no infinities: they are the texts "nan", "inf" and "-inf".  Times are in ISO 8601 '
            "and UTC, durations are seconds.",
        },
        "paths": {_PART.sub(r"{\1}", each.path): {"get": _operation(each)} for each in endpoints},
        "components": {"schemas": {"Error": _ERROR_SCHEMA}},
    }


def _operation(endpoint: Endpoint) -> Document:
    summary, _, more = (inspect.getdoc(endpoint.answer) or "").partition("\n")
    failures = {
        status: {"description": about, "content": {"application/json": {"schema": _ERROR}}}
        for status, about in _FAILURES.items()
    }
    return {
        "operationId": endpoint.name,
        "summary": summary.strip(),
        "description": more.strip(),
        "parameters": [
            *(
                {"name": name, "in": "path", "required": True, "schema": PATH_PARTS[name]}
                for name in _PART.findall(endpoint.path)
            ),
            *map(_parameter, endpoint.queries),
        ],
        "responses": {"200": _success(endpoint), **failures},
    }


def _success(endpoint: Endpoint) -> Document:
    content: Document = {"application/json": {"schema": {"type": "object"}}}
    if endpoint.name == "artifact":
        content = {"*/*": {}}
    return {"description": "The answer.", "content": content}


def _parameter(query: Query) -> Document:
    schema = query.schema()
    if query.many > 1:
        schema = {"type": "array", "maxItems": query.many, "items": schema}
    elif query.default is not None:
        schema |= {"default": query.default}
    return {"name": query.name, "in": "query", "description": query.about, "schema": schema}

"""OpenAPI 3.1, generated from the route table and the types of the wire."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from jupyter_remote import wire
from jupyter_remote.server.auth import Policy
from jupyter_remote.server.routing import BYTES_TYPES, HTML_TYPE, JSON_TYPE, Endpoint
from jupyter_remote.server.signin import CANCEL, LOOK, cookie_name

REF = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"{(\w+)}")
_PATTERNS = {"digest": "^[0-9a-f]{64}$", "id": "^[^/]+$", "name": "^[^/]+$"}

Json = dict[str, Any]


def document(endpoints: Sequence[Endpoint], version: str) -> bytes:
    """The document as JSON."""
    types = _types(endpoints)
    schemas, components = msgspec.json.schema_components(types, ref_template=REF)
    schema_of = dict(zip(types, schemas, strict=True))
    paths: dict[str, Json] = {}
    for endpoint in endpoints:
        operation = _operation(endpoint, schema_of)
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = operation
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "jupyter_remote", "version": version},
            "paths": paths,
            "components": {
                "schemas": components,
                "securitySchemes": {
                    "token": {"type": "http", "scheme": "bearer"},
                    "cookie": {
                        "type": "apiKey",
                        "in": "cookie",
                        "name": cookie_name("https", ""),
                        "description": "Of the page of jobs; on loopback its name has the port",
                    },
                },
            },
        }
    )


def _types(endpoints: Sequence[Endpoint]) -> list[Any]:
    types: dict[Any, None] = {wire.Problem: None}
    for endpoint in endpoints:
        for type_ in (endpoint.body, endpoint.reply):
            if type_ is not None:
                types[type_] = None
        for field in msgspec.structs.fields(endpoint.query):
            types[field.type] = None
    return list(types)


def _operation(endpoint: Endpoint, schema_of: dict[Any, Json]) -> Json:
    assert endpoint.policy is not None
    operation: Json = {
        "summary": endpoint.summary,
        "operationId": endpoint.handler.__name__ + "_" + endpoint.method.lower(),
        "parameters": [*_path(endpoint), *_query(endpoint, schema_of)],
        "responses": _responses(endpoint, schema_of),
        "security": _security(endpoint.policy),
    }
    if endpoint.body is not None:
        content = {JSON_TYPE: {"schema": schema_of[endpoint.body]}}
        operation["requestBody"] = {"required": True, "content": content}
    elif endpoint.takes_bytes:
        operation["requestBody"] = {"content": {t: {"schema": {}} for t in BYTES_TYPES}}
    return operation


def _security(policy: Policy) -> list[dict[str, list[str]]]:
    if policy.open:
        return []
    token = {"token": sorted(policy.scopes)}
    return [token, {"cookie": []}] if policy.scopes & {LOOK, CANCEL} else [token]


def _path(endpoint: Endpoint) -> list[Json]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": _PATTERNS[name]},
        }
        for name in _PARAMETER.findall(endpoint.path)
    ]


def _query(endpoint: Endpoint, schema_of: dict[Any, Json]) -> list[Json]:
    return [
        {"name": f.encode_name, "in": "query", "required": f.required, "schema": schema_of[f.type]}
        for f in msgspec.structs.fields(endpoint.query)
    ]


def _responses(endpoint: Endpoint, schema_of: dict[Any, Json]) -> Json:
    problem = {"application/problem+json": {"schema": schema_of[wire.Problem]}}
    content: Json = {}
    if endpoint.method != "HEAD":
        if endpoint.reply is not None:
            content[JSON_TYPE] = {"schema": schema_of[endpoint.reply]}
        if endpoint.reply_type != JSON_TYPE or endpoint.reply is None:
            content[endpoint.reply_type] = {}
    if endpoint.reply_type == HTML_TYPE:  # people see it
        problem = {**problem, HTML_TYPE: {}}
    errors = {} if endpoint.method == "HEAD" else {"content": problem}
    return {
        str(endpoint.status): {"description": "Done", "content": content},
        "4XX": {"description": "Refused; says why and what to do", **errors},
        "507": {"description": "The disk is full; nothing was acknowledged", **errors},
    }

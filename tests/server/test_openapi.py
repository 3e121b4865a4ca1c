"""The OpenAPI document is true: generated requests get replies as it says, and no 5xx."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from jupyter_remote.server.table import ENDPOINTS

from .conftest import Running, Worker, submit

CASES = 25  # of each operation
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
LEFT_OUT = {"/v1/server/shutdown", "/v1/events", "/v1/jobs/{id}/events"}  # ends; never ends


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Any:
    running = Running(tmp_path_factory.mktemp("openapi"))
    played = Worker(running)
    played.hello()
    submit(running, id="00000000-0000-4000-8000-000000000000")
    played.run()
    played.close()
    yield running
    running.stop()


def document(server: Running) -> dict[str, Any]:
    found: dict[str, Any] = server.http.call("GET", "/v1/openapi.json", reply=dict)
    return found


def test_the_document_has_every_route_and_type(live: Running) -> None:
    found = document(live)
    routes = {(m.upper(), path) for path, methods in found["paths"].items() for m in methods}
    assert routes == {(e.method, e.path) for e in ENDPOINTS}
    assert {"JobView", "SubmitRequest", "Problem", "Done"} <= set(found["components"]["schemas"])
    ids = [o["operationId"] for methods in found["paths"].values() for o in methods.values()]
    assert len(ids) == len(set(ids))


def test_the_document_says_where_the_cookie_of_the_page_is_taken(live: Running) -> None:
    paths = document(live)["paths"]
    assert {"cookie": []} in paths["/v1/jobs/{id}/cancel"]["post"]["security"]
    assert paths["/v1/tokens"]["get"]["security"] == [{"token": ["admin"]}]
    assert paths["/jobs"]["get"]["security"] == []


@pytest.mark.parametrize(
    ("method", "path"), [(e.method, e.path) for e in ENDPOINTS if e.path not in LEFT_OUT]
)
def test_generated_requests_get_what_the_document_says(
    live: Running, method: str, path: str
) -> None:
    operation = schemathesis.openapi.from_dict(document(live))[path][method]
    headers = {"Authorization": f"Bearer {live.token}"}

    @settings(
        max_examples=CASES,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
        derandomize=True,
    )
    @given(case=operation.as_strategy() | operation.as_strategy(GenerationMode.NEGATIVE))
    def conforms(case: Case) -> None:
        case.call_and_validate(base_url=live.url, headers=headers, checks=CHECKS)

    conforms()

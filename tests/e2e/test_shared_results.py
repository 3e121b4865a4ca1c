"""A result is shared, opened without a token, and taken back, with a real backend and worker."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nbformat
import pytest

import jupyter_remote as jr
from jupyter_remote import errors


def fetch(url: str, path: str = "") -> tuple[int, str]:
    """As somebody without a token asks."""
    parts = urlsplit(url)
    plain = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    try:
        plain.request("GET", path or parts.path)
        reply = plain.getresponse()
        return reply.status, reply.read().decode()
    finally:
        plain.close()


def greet(name: str) -> dict[str, Any]:
    print("hello", name)
    return {"greeting": f"hello {name}", "numbers": list(range(100_000))}


def test_a_call_is_shared_with_what_it_printed_and_its_value_as_text(client: jr.Client) -> None:
    job = client.with_options(visibility="unlisted", description="greetings").submit(greet, "Ada")
    found = client.result(job)
    job.result(60)
    assert found.results_url == f"{client.url}/results/{found.results_uuid}"
    status, page = fetch(found.results_url)
    assert status == 200
    for text in ("greetings", "hello Ada", "&#x27;numbers&#x27;: [0, 1, 2,"):
        assert text in page
    assert len(page) < 30_000
    told = [n["text"] for n in job.outputs if n["name"] == "stderr"]
    assert any(found.results_url in text and "this computer only" in text for text in told)
    assert "this computer only" in repr(found)


def test_a_result_is_found_by_any_of_its_names(client: jr.Client) -> None:
    job = client.submit(greet, "Bob")
    value = job.result(60)
    private = client.result(job.id)
    assert (private.results_uuid, private.results_url, private.visibility) == ("", "", "private")
    shared = client.share(job.id[:8])
    with jr.Client() as other:
        for name in (job.id, job.id[:8], job, shared.results_uuid, shared.results_url):
            found = other.result(name)
            assert (found.jobs_uuid, found.results_uuid) == (job.id, shared.results_uuid)
            assert (found.status, found.reason, found.price) == ("completed", "", 0.0)
            assert found.version == jr.__version__
            assert found.value == value
            assert found.outputs == job.outputs
    with pytest.raises(errors.UsageError, match="another backend"):
        client.result("http://127.0.0.1:1/results/" + shared.results_uuid)


def test_a_result_that_was_taken_back_is_gone_for_others_and_not_for_its_owner(
    client: jr.Client,
) -> None:
    job = client.submit(greet, "Eve")
    job.result(60)
    shared = client.share(job, "public")
    assert job.visibility == client.job(job.id).visibility == "public"
    assert fetch(shared.results_url)[0] == 200
    assert job.id in fetch(client.url, "/v1/results")[1]
    assert client.revoke(shared.results_uuid).visibility == "private"
    assert fetch(shared.results_url)[0] == 404
    assert job.id not in fetch(client.url, "/v1/results")[1]
    with pytest.raises(errors.NotFound):
        client.result(shared.results_uuid)
    assert client.result(job).value["greeting"] == "hello Eve"
    again = client.share(job)
    assert again.results_uuid != shared.results_uuid
    with pytest.raises(errors.UsageError, match="'unlisted' or 'public'"):
        client.share(job, "private")


def test_another_user_sees_the_outputs_and_not_the_value(client: jr.Client, monkeypatch) -> None:
    job = client.submit(greet, "Ada")
    job.result(60)
    shared = client.share(job)
    monkeypatch.setattr(
        type(client._context), "job", lambda *_: (_ for _ in ()).throw(errors.NotFound("not yours"))
    )
    found = client.result(shared.results_uuid)
    assert found.outputs == [{"output_type": "stream", "name": "stdout", "text": "hello Ada\n"}]
    with pytest.raises(errors.NotAuthorized, match="somebody else's"):
        _ = found.value
    with pytest.raises(errors.NotFound):
        client.revoke(shared.results_uuid)


def test_a_job_that_failed_is_shared_with_its_error(client: jr.Client) -> None:
    def divide() -> float:
        return 1 / 0

    job = client.with_options(visibility="unlisted").submit(divide)
    with pytest.raises(ZeroDivisionError):
        job.result(60)
    found = client.result(job)
    assert (found.status, found.reason) == ("failed", "user_error")
    page = fetch(found.results_url)[1]
    assert "ZeroDivisionError" in page
    assert "\x1b" not in page


def test_a_notebook_is_shared_with_the_outputs_of_all_its_cells_and_as_a_file(
    client: jr.Client, tmp_path: Path
) -> None:
    path = tmp_path / "n.ipynb"
    cells = [nbformat.v4.new_code_cell(c) for c in ("print('one')", "{'two': 2}", "x = 3")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    job = client.run_notebook(path, visibility="unlisted")
    executed = job.result(120)
    found = client.result(job)
    page = fetch(found.results_url)[1]
    assert "one" in page
    assert "{&#x27;two&#x27;: 2}" in page
    status, text = fetch(found.results_url, f"/results/{found.results_uuid}/notebook")
    assert status == 200
    assert nbformat.reads(text, as_version=4) == executed
    listed = json.loads(fetch(client.url, f"/v1/results/{found.results_uuid}")[1])
    assert [o["output_type"] for o in listed["outputs"]] == ["stream", "execute_result"]

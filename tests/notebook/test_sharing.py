"""``--visibility``, ``%remote result ID --share`` and ``--revoke`` in a real kernel."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request

import pytest

from tests.notebook.kernels import Kernel, printed, raised

ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/results/[0-9a-f-]{36}")


def opened(url: str) -> str:
    with urllib.request.urlopen(url, timeout=20) as reply:
        return reply.read().decode()


def address_in(text: str) -> str:
    found = ADDRESS.search(text)
    assert found is not None, text
    return found[0]


def test_a_cell_that_is_not_private_says_where_its_result_opens(kernel: Kernel) -> None:
    said = printed(kernel.run("%%remote_run --visibility unlisted -d 'my cell'\nz = 6\nz * 7"))
    page = opened(address_in(said))
    assert "opens on this computer only" in said
    for text in ("my cell", '<pre class="">42</pre>', "z: int"):
        assert text in page
    assert address_in(said) in str(kernel.run("%remote show last"))


def test_a_result_is_shared_later_and_taken_back(kernel: Kernel) -> None:
    kernel.run("%%remote_run\nprint('a private cell')")
    said = printed(kernel.run("%remote result last --share unlisted"))
    url = address_in(said)
    assert "a private cell" in opened(url)
    assert "--revoke takes it back" in said
    assert f"unlisted: {url}" in str(kernel.run("%remote show last"))  # as it is now
    shown = str(kernel.run(f"%remote result {url}")[2]["content"])
    assert "unlisted" in shown
    assert "private" in printed(kernel.run("%remote result last --revoke"))
    with pytest.raises(urllib.error.HTTPError, match="404"):
        opened(url)


def test_what_makes_no_sense_is_told(kernel: Kernel) -> None:
    wrong = raised(kernel.run("%remote result last --share privat"))
    assert "unlisted, public" in str(wrong)
    both = raised(kernel.run("%remote result last --share public --revoke"))
    assert "opposites" in str(both)


def test_the_status_says_what_runs_and_what_it_costs(kernel: Kernel) -> None:
    quiet = printed(kernel.run("%remote status"))
    runs = r"(nothing runs|\d+ sessions? running)"  # those of other tests
    assert re.search(runs + r"; <?\$[\d.]+ spent today; [\d,]+ credits left", quiet)
    kernel.run("%%remote_run -m g5.xlarge.od --bg -n job\nimport time\ntime.sleep(30)")
    kernel.run("import time\nwhile job.status == 'queued': time.sleep(0.02)")
    busy = printed(kernel.run("%remote status"))
    assert re.search(r"\n1 job( and \d+ sessions?)? running at \$1.006/h \(simulated\); ", busy)
    kernel.run("job.cancel(force=True)\njob.wait(20)")


def test_a_link_to_the_page_of_jobs_signs_a_browser_in(kernel: Kernel) -> None:
    told = printed(kernel.run("%remote page"))
    found = re.search(r"(http://127\.0\.0\.1:\d+)/login#(\S+)", told)
    assert found is not None, told
    assert "Good once, for 10 minutes" in told
    headers = {"Content-Type": "application/json", "Origin": found[1]}
    body = json.dumps({"code": found[2]}).encode()
    request = urllib.request.Request(f"{found[1]}/v1/page/session", body, headers)
    with urllib.request.urlopen(request, timeout=20) as reply:
        assert json.load(reply)["scopes"] == ["page", "cancel"]
        assert reply.headers["set-cookie"].startswith("jupyter-remote-")

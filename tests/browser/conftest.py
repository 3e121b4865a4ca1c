"""One JupyterLab and one Chromium for all tests of this folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import lab
from tests.conftest import isolate, stop_backend


@pytest.fixture(autouse=True)
def _limits() -> None:
    expect.set_options(timeout=lab.LIMIT_S * 1000)


_failed = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, object]:
    report = yield
    item.stash[_failed] = item.stash.get(_failed, False) or report.failed
    return report


@pytest.fixture(autouse=True)
def _jobs_of_a_failed_test_are_ended(request: pytest.FixtureRequest) -> Iterator[None]:
    """They would keep the slots of the backend from all tests after it."""
    yield
    if request.node.stash[_failed]:
        stop_backend({})


# Not for the whole session: while Playwright runs, no other event loop can in this thread.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    if not (os.environ.get("CHROMIUM") or shutil.which("chromium")):
        pytest.fail("no chromium: install it, or leave this folder out (see the Makefile)")
    with lab.chromium() as browser:
        yield browser


@pytest.fixture(scope="package")
def jupyterlab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.Server]:
    with lab.server(tmp_path_factory.mktemp("lab"), extended=False) as server:
        yield server


@pytest.fixture(scope="package")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.Server]:
    """A JupyterLab with our extension, which tells the end of every job."""
    folder = tmp_path_factory.mktemp("extended")
    with lab.server(folder, ours={"panel": {"notifyAfter": 0.001}}) as server:
        yield server


@pytest.fixture(scope="package")
def page(chromium: Browser) -> Iterator[Page]:
    page = lab.new_page(chromium)
    yield page
    page.close()


@pytest.fixture
def unused(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folders in which nothing ran; sockets of kernels lie there, and a path has 107 characters."""
    with tempfile.TemporaryDirectory(prefix="jr-") as folder:
        env = isolate(Path(folder))
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        yield Path(folder)
        stop_backend(env)


@pytest.fixture
def book(page: Page, jupyterlab: lab.Server) -> Callable[..., AbstractContextManager[lab.Book]]:
    """``book(name, *cells)``: a new notebook that is open in JupyterLab."""
    return partial(lab.book, page, jupyterlab)

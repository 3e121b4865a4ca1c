"""A page of its own for each test, in the JupyterLab that has our extension."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from playwright.sync_api import Page

from tests.browser import lab


@pytest.fixture
def page(chromium, extended) -> Iterator[Page]:
    page = lab.new_page(chromium)
    yield page
    page.close()


@pytest.fixture
def book(page, extended):
    return partial(lab.book, page, extended)

"""How long workers live, and what is said when they ended."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator

import pytest

import jupyter_remote as jr
from jupyter_remote import errors
from tests.views.executor_fixtures import LIMIT_S


@pytest.fixture
def own() -> Iterator[jr.Client]:
    with jr.Client(namespace={}) as client:
        client.wait_for_engines(1)
        yield client


def test_workers_that_died_are_followed_by_empty_ones_with_a_warning(own: jr.Client) -> None:
    own[0]["a"] = 1
    died = own[0].apply_async(os._exit, 3).exception(LIMIT_S)
    assert isinstance(died, errors.EngineError)
    with pytest.warns(UserWarning, match=r"ended, and what they held is lost: .*exit"):
        fresh = own[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "a" not in fresh.apply_sync(dir)
        assert len(own._views._groups) == 1


def test_workers_that_were_stopped_are_followed_by_others_without_a_word(own: jr.Client) -> None:
    stopped = own[0].apply_sync(os.getpid)
    own[:].shutdown()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert own[0].apply_sync(os.getpid) != stopped

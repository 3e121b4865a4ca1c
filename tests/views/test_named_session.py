"""A session by its name: what it holds is in sight, and stays there."""

from __future__ import annotations

import numpy as np
import pytest

import jupyter_remote as jr
from jupyter_remote import errors


@pytest.fixture
def session(client: jr.Client):
    found = client.session("sights")
    found["X"] = np.arange(12.0).reshape(3, 4)
    found["items"] = [1, 2, 3]
    return found


def test_its_variables_are_listed_without_being_fetched(session):
    rows = {row["name"]: row for row in session.vars()}
    assert (rows["X"]["type"], rows["X"]["shape"], rows["X"]["dtype"]) == (
        "ndarray",
        [3, 4],
        "float64",
    )
    assert rows["X"]["bytes"] == 96
    assert rows["items"]["shape"] == [3]
    assert "3 × 4" in repr(session.vars())
    assert "<td" in session.vars()._repr_html_()


def test_names_are_fetched_set_looked_for_and_deleted(session):
    session["y"] = 5
    assert (session["y"], "y" in session) == (5, True)
    del session["y"]
    assert "y" not in session
    with pytest.raises(NameError):
        del session["y"]


def test_a_proxy_shows_its_value_and_fetches_parts_of_it(session):
    proxy = session.ref("X")
    assert "array([[ 0.," in repr(proxy)
    assert "session 'sights'" in repr(proxy)
    assert (proxy.shape, len(proxy)) == ((3, 4), 3)
    assert proxy[1, :2].tolist() == [4.0, 5.0]
    assert proxy.sum() == 66.0
    assert [row.sum() for row in proxy] == [6.0, 22.0, 38.0]
    assert np.array_equal(proxy.get(), np.arange(12.0).reshape(3, 4))


def test_a_proxy_is_the_value_itself_where_it_is(session):
    session.apply_sync(lambda items: items.append(4), session.ref("items"))
    assert session["items"] == [1, 2, 3, 4]


def test_more_than_the_limit_comes_only_when_it_is_asked_for(session):
    proxy = session.ref("X", limit=50)
    with pytest.raises(errors.TooLarge, match="96"):
        proxy[:]
    with pytest.raises(errors.TooLarge):
        proxy.get(limit=50)
    assert proxy.get().shape == (3, 4)


def test_what_is_not_there_is_a_name_error_that_names_the_worker(session):
    for ask in (lambda: session.ref("gone"), lambda: session["gone"]):
        with pytest.raises(NameError, match="gone") as raised:
            ask()
        assert "sights" in "".join(raised.value.__notes__)

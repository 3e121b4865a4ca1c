"""Bringing home: nothing is lost, nothing is half done."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from typing import Any

import numpy as np
import pandas as pd
import pytest

from jupyter_remote.client import home
from jupyter_remote.client.home import bring_home, is_plain
from jupyter_remote.wire import LeftBehind, Result


def test_changed_new_deleted_and_left_behind_are_told() -> None:
    namespace: dict[str, Any] = {"x": 1, "gone": 2, "kept": 3}
    left = [LeftBehind("sock", "socket", "an open socket")]
    result = Result(deleted=["gone", "never"], left_behind=left)
    arrived = bring_home(namespace, result, {"x": 5, "y": 6}, {"x": 1, "gone": 2})
    assert namespace == {"x": 5, "y": 6, "kept": 3}
    assert (arrived.changed, arrived.new, arrived.deleted) == (["x"], ["y"], ["gone"])
    assert arrived.left_behind == left


def test_an_assigned_name_leaves_its_aliases_alone() -> None:
    old = [1]
    namespace = {"x": old, "y": old}
    bring_home(namespace, Result(), {"x": [1, 2]}, {"x": old})
    assert namespace == {"x": [1, 2], "y": [1]}


def test_equal_numbers_are_not_one_object() -> None:
    namespace = {"x": 1, "y": 1, "t": (1,), "u": (1,)}
    sent = {"x": 1, "t": namespace["t"]}
    bring_home(namespace, Result(in_place=["x", "t"]), {"x": 2, "t": (2,)}, sent)
    assert namespace == {"x": 2, "y": 1, "t": (2,), "u": (1,)}


PAIRS: list[tuple[Any, Any]] = [
    ([1], [1, 2]),
    ({"a": 1}, {"b": 2, "a": 3}),
    ({1}, {2, 3}),
    (bytearray(b"a"), bytearray(b"bc")),
    (deque([1], 2), deque([2, 3], 2)),
    (Counter("ab"), Counter("bcc")),
    (defaultdict(int, a=1), defaultdict(int, a=2)),
]


@pytest.mark.parametrize(("old", "new"), PAIRS, ids=[type(a).__name__ for a, _ in PAIRS])
def test_a_container_changed_in_place_keeps_its_identity(old: Any, new: Any) -> None:
    holder = (old,)
    namespace = {"x": old}
    bring_home(namespace, Result(in_place=["x"]), {"x": new}, {"x": old})
    assert namespace["x"] is old
    assert holder[0] == new


def test_an_array_is_written_into_where_dtype_and_shape_allow() -> None:
    base = np.zeros((2, 3))
    row = base[0]
    namespace: dict[str, Any] = {"row": row}
    bring_home(namespace, Result(in_place=["row"]), {"row": np.ones(3)}, {"row": row})
    assert namespace["row"] is row
    assert base.sum() == 3


@pytest.mark.parametrize("new", [np.ones(4), np.ones(3, dtype="f4")])
def test_an_array_of_another_shape_or_dtype_replaces_the_old_everywhere(new: Any) -> None:
    old = np.zeros(3)
    namespace: dict[str, Any] = {"a": old, "b": old, "_3": old, "_oh": {3: old, 4: 1}}
    bring_home(namespace, Result(in_place=["a"]), {"a": new}, {"a": old})
    assert all(namespace[n] is new for n in ("a", "b", "_3"))
    assert namespace["_oh"][3] is new
    assert old.sum() == 0


def test_a_read_only_or_broadcast_array_is_replaced() -> None:
    for old in (np.broadcast_to(np.zeros(1), (3,)), np.frombuffer(b"\0" * 24)):
        namespace: dict[str, Any] = {"a": old}
        new = np.ones(3)
        bring_home(namespace, Result(in_place=["a"]), {"a": new}, {"a": old})
        assert namespace["a"] is new


def test_what_refers_to_a_changed_object_refers_to_the_notebooks_own() -> None:
    old = [1]
    new = [1, 2]
    namespace: dict[str, Any] = {"x": old}
    values = {"x": new, "box": {"deep": [new]}, "again": new}
    bring_home(namespace, Result(in_place=["x"]), values, {"x": old})
    assert namespace["x"] is namespace["again"] is namespace["box"]["deep"][0] is old
    assert old == [1, 2]


def test_an_object_inside_a_tuple_replaces_the_old_one() -> None:
    old = [1]
    new = [1, 2]
    namespace: dict[str, Any] = {"x": old, "y": old}
    bring_home(namespace, Result(in_place=["x"]), {"x": new, "t": (new,)}, {"x": old})
    assert namespace["x"] is namespace["y"] is namespace["t"][0]


def test_what_the_user_bound_anew_meanwhile_is_kept() -> None:
    old = [1]
    holder = [old]
    namespace: dict[str, Any] = {"x": "mine now", "z": "also mine"}
    result = Result(in_place=["x"], deleted=["z"])
    arrived = bring_home(namespace, result, {"x": [1, 2]}, {"x": old, "z": 0})
    assert namespace == {"x": "mine now", "z": "also mine"}
    assert holder == [[1, 2]]
    assert arrived.deleted == []


def test_after_a_restart_names_are_simply_assigned() -> None:
    namespace: dict[str, Any] = {}
    arrived = bring_home(namespace, Result(in_place=["x"]), {"x": [1]}, {})
    assert namespace == {"x": [1]}
    assert arrived.new == ["x"]


def test_what_fails_midway_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Thing:
        pass

    items, table, thing = [1], {"a": 1}, Thing()
    frame, array = pd.DataFrame({"a": [1]}), np.zeros(2)
    thing.__dict__["v"] = 1
    sent = {"items": items, "table": table, "thing": thing, "frame": frame, "array": array}
    namespace: dict[str, Any] = {**sent, "gone": 1}
    new = Thing()
    new.__dict__["v"] = 2
    values = {"items": [2], "table": {"b": 2}, "thing": new, "frame": pd.DataFrame({"b": [2, 3]}),
              "array": np.ones(2), "fresh": 1}  # fmt: skip

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(home, "_rebind", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bring_home(namespace, Result(in_place=list(sent), deleted=["gone"]), values, dict(sent))
    assert items == [1]
    assert table == {"a": 1}
    assert vars(thing) == {"v": 1}
    assert frame.equals(pd.DataFrame({"a": [1]}))
    assert array.sum() == 0
    assert set(namespace) == {*sent, "gone"}


def test_only_classes_whose_state_is_their_dict_are_filled() -> None:
    class Plain:
        pass

    class Child(Plain):
        pass

    class Slots:
        __slots__ = ("a",)

    class Listy(list):  # type: ignore[type-arg]
        pass

    class Both(Slots):
        pass

    assert is_plain(Plain)
    assert is_plain(Child)
    assert not any(map(is_plain, (Slots, Listy, Both, int, type, Exception, object)))


def test_a_series_keeps_its_new_name_and_index() -> None:
    old = pd.Series([1, 2], name="a")
    new = pd.Series([3, 4, 5], index=list("xyz"), name="b")
    namespace: dict[str, Any] = {"s": old}
    bring_home(namespace, Result(in_place=["s"]), {"s": new}, {"s": old})
    assert namespace["s"] is old
    pd.testing.assert_series_equal(old, new)


def test_a_frame_filled_anew_can_be_used_on() -> None:
    old = pd.DataFrame({"a": [1, 2]})
    column = old["a"]
    new = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
    new.attrs["k"] = 1
    namespace: dict[str, Any] = {"df": old}
    bring_home(namespace, Result(in_place=["df"]), {"df": new}, {"df": old})
    old["c"] = old.b * 2
    assert list(old.columns) == ["a", "b", "c"]
    assert old.attrs == {"k": 1}
    assert column.tolist() == [1, 2]

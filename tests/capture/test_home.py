"""Bringing home: nothing is lost, nothing is half done."""

from __future__ import annotations

import copy
import io
import random
from array import array
from collections import Counter, defaultdict, deque
from types import CellType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from jupyter_remote.client import home
from jupyter_remote.client.home import Arrived, Homecoming
from jupyter_remote.contents.parts import plain_base
from jupyter_remote.contents.update import can_change
from jupyter_remote.contents.watch import Watch
from jupyter_remote.wire import Result


def bring_home(
    namespace: dict[str, Any],
    names: dict[str, Any],
    changes: list[tuple[Any, Any]] = [],  # noqa: B006
    sent: dict[str, Any] | None = None,
    watch: Watch | None = None,
    **result: Any,
) -> Homecoming:
    """``changes``: objects of the notebook, and what each holds now."""
    copies = [(number, new) for number, (_, new) in enumerate(changes)]
    originals = [old for old, _ in changes]
    return home.bring_home(
        namespace,
        Result(**result),
        Arrived(names, copies),
        originals.__getitem__,
        sent or {},
        watch,
    )


def test_new_and_deleted_names_are_told() -> None:
    namespace: dict[str, Any] = {"x": 1, "gone": 2, "kept": 3}
    sent = {"x": 1, "gone": 2}
    arrived = bring_home(namespace, {"x": 5, "y": 6}, sent=sent, deleted=["gone", "never"])
    assert namespace == {"x": 5, "y": 6, "kept": 3}
    assert (arrived.new, arrived.deleted) == (["y"], ["gone"])


def test_an_assigned_name_leaves_its_aliases_alone() -> None:
    old = [1]
    namespace = {"x": old, "y": old}
    bring_home(namespace, {"x": [1, 2]}, sent={"x": old})
    assert namespace == {"x": [1, 2], "y": [1]}


PAIRS: list[tuple[Any, Any]] = [
    ([1], [1, 2]),
    ({"a": 1}, {"b": 2, "a": 3}),
    ({1}, {2, 3}),
    (bytearray(b"a"), bytearray(b"bc")),
    (deque([1], 2), deque([2, 3], 2)),
    (Counter("ab"), Counter("bcc")),
    (defaultdict(int, a=1), defaultdict(int, a=2)),
    (array("i", [1]), array("i", [2, 3])),
    (io.StringIO("a"), io.StringIO("bc")),
    (random.Random(1), random.Random(2)),
    (np.random.default_rng(1).bit_generator, np.random.default_rng(2).bit_generator),
    (np.random.RandomState(1), np.random.RandomState(2)),
    (ValueError(1), ValueError(2, 3)),
]


def content(value: Any) -> Any:
    match value:
        case io.StringIO():
            return value.getvalue()
        case random.Random():
            return value.getstate()
        case np.random.RandomState():
            return repr(value.get_state())
        case ValueError():
            return value.args
        case _:
            return getattr(value, "state", value)


@pytest.mark.parametrize(("old", "new"), PAIRS, ids=[type(a).__name__ for a, _ in PAIRS])
def test_a_container_changed_in_place_keeps_its_identity(old: Any, new: Any) -> None:
    old, before = copy.deepcopy(old), content(copy.deepcopy(old))
    namespace = {"x": old}
    bring_home(namespace, {}, [(old, copy.deepcopy(new))])
    assert namespace["x"] is old
    assert content(old) == content(new) != before


def test_an_array_is_written_into_where_dtype_and_shape_allow() -> None:
    base = np.zeros((2, 3))
    row = base[0]
    namespace: dict[str, Any] = {"row": row}
    bring_home(namespace, {}, [(row, np.ones(3))])
    assert namespace["row"] is row
    assert base.sum() == 3


def test_of_arrays_that_share_memory_what_was_changed_is_written() -> None:
    a = np.array([0.0, np.nan, 0, 0, 0])
    v = a[1:3]
    bring_home({}, {}, [(a, np.array([0, 5.0, 0, 0, 0])), (v, np.array([np.nan, -2.0]))])
    assert a.tolist() == [0, 5, -2, 0, 0]


@pytest.mark.parametrize("new", [np.ones(4), np.ones(3, dtype="f4")])
def test_an_array_of_another_shape_or_dtype_replaces_the_old_everywhere(new: Any) -> None:
    old = np.zeros(3)
    namespace: dict[str, Any] = {"a": old, "b": old, "_3": old, "_oh": {3: old, 4: 1}}
    bring_home(namespace, {}, [(old, new)])
    assert all(namespace[n] is new for n in ("a", "b", "_3"))
    assert namespace["_oh"][3] is new
    assert old.sum() == 0


def test_a_read_only_or_broadcast_array_is_replaced() -> None:
    for old in (np.broadcast_to(np.zeros(1), (3,)), np.frombuffer(b"\0" * 24)):
        namespace: dict[str, Any] = {"a": old}
        new = np.ones(3)
        assert not can_change(old)
        bring_home(namespace, {}, [(old, new)])
        assert namespace["a"] is new


def test_what_the_user_bound_anew_meanwhile_is_kept() -> None:
    old = [1]
    holder = [old]
    namespace: dict[str, Any] = {"x": "mine now", "z": "also mine"}
    arrived = bring_home(namespace, {}, [(old, [1, 2])], {"x": old, "z": 0}, deleted=["z"])
    assert namespace == {"x": "mine now", "z": "also mine"}
    assert holder == [[1, 2]]
    assert arrived.deleted == []


def test_what_the_user_changed_meanwhile_is_kept_and_told() -> None:
    mine, theirs = [1], [1]
    sent: dict[str, Any] = {"mine": mine, "theirs": theirs, "box": {"inner": [0]}}
    inner = sent["box"]["inner"]
    watch = Watch({0: mine, 1: theirs, 2: inner}, {})
    mine.append(2)
    inner.append(2)
    changes = [(mine, [1, 9]), (theirs, [1, 9]), (inner, [0, 9])]
    told = bring_home(dict(sent), {}, changes, sent, watch)
    assert (mine, theirs, inner) == ([1, 2], [1, 9], [0, 2])
    assert told.kept == ["mine", "a list in your data"]


def test_what_fails_midway_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Thing:
        pass

    items, table, thing = [1], {"a": 1}, Thing()
    slotted, cell, listy = Slotted(1), CellType(1), Listy([1])
    frame, array = pd.DataFrame({"a": [1]}), np.zeros(2)
    thing.__dict__["v"] = 1
    sent = {"items": items, "table": table, "thing": thing, "frame": frame, "array": array}
    namespace: dict[str, Any] = {**sent, "gone": 1}
    new = Thing()
    new.__dict__["v"] = 2
    changes = [
        *((items, [2]), (table, {"b": 2}), (thing, new), (array, np.ones(2)), (listy, Listy([2]))),
        *((slotted, Slotted(2)), (cell, CellType(2)), (frame, pd.DataFrame({"b": [2, 3]}))),
    ]

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(home, "_rebind", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bring_home(namespace, {"fresh": 1}, changes, dict(sent), deleted=["gone"])
    assert items == [1]
    assert (slotted.a, cell.cell_contents, listy) == (1, 1, [1])
    assert table == {"a": 1}
    assert vars(thing) == {"v": 1}
    assert frame.equals(pd.DataFrame({"a": [1]}))
    assert array.sum() == 0
    assert set(namespace) == {*sent, "gone"}


class Slotted:
    __slots__ = ("a",)

    def __init__(self, a: int) -> None:
        self.a = a


class Listy(list):  # type: ignore[type-arg]
    pass


def test_classes_are_known_by_what_their_instances_are_made_of() -> None:
    class Plain:
        pass

    class Child(Plain):
        pass

    class Both(Slotted):
        pass

    class Own:
        def __reduce__(self) -> str:
            return "own"

    assert [plain_base(c) for c in (Plain, Child, Slotted, Both)] == [object] * 4
    assert plain_base(Listy) is list
    assert not any(map(plain_base, (int, type, Exception, Own, np.ndarray)))


def test_elements_attributes_and_slots_are_taken_over() -> None:
    old, new = Listy([1]), Listy([2, 3])
    vars(old)["gone"], vars(new)["tag"] = 1, 2
    slotted, empty = Slotted(1), Slotted(2)
    del empty.a
    bring_home({}, {}, [(old, new), (slotted, empty)])
    assert (old, vars(old)) == ([2, 3], {"tag": 2})
    assert not hasattr(slotted, "a")


def test_a_series_keeps_its_new_name_and_index() -> None:
    old = pd.Series([1, 2], name="a")
    new = pd.Series([3, 4, 5], index=list("xyz"), name="b")
    namespace: dict[str, Any] = {"s": old}
    bring_home(namespace, {}, [(old, new)])
    assert namespace["s"] is old
    pd.testing.assert_series_equal(old, new)


def test_a_frame_filled_anew_can_be_used_on() -> None:
    old = pd.DataFrame({"a": [1, 2]})
    column = old["a"]
    new = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
    new.attrs["k"] = 1
    namespace: dict[str, Any] = {"df": old}
    bring_home(namespace, {}, [(old, new)])
    old["c"] = old.b * 2
    assert list(old.columns) == ["a", "b", "c"]
    assert old.attrs == {"k": 1}
    assert column.tolist() == [1, 2]

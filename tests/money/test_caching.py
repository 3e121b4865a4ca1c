"""Why a result is not in the cache, and what goes first."""

from __future__ import annotations

import pytest

from jupyter_remote.money.caching import NOT_KEPT, Kept, least_valuable, why_missed, worth
from jupyter_remote.wire import CachePart

DAY_S = 86_400.0


def part(name: str, digest: str = "", text: str = "") -> CachePart:
    return CachePart(name, digest or text, text)


BEFORE = [
    part("Python", text="3.11.7"),
    part("package numpy", text="2.4.5"),
    part("code", "a"),
    part("global scale", text="2"),
    part("input df", "d"),
    part("state of numpy.random", "r"),
]


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (part("Python", text="3.12.1"), "Python: 3.11.7 → 3.12.1"),
        (part("package numpy", text="2.4.6"), "package numpy: 2.4.5 → 2.4.6"),
        (part("package numpy", "none"), "package numpy: 2.4.5 → none"),
        (part("code", "b"), "code changed"),
        (part("global scale", text="3"), "global `scale` changed: 2 → 3"),
        (part("global scale", "secret"), "global `scale` changed"),
        (part("input df", "e"), "input `df` changed"),
        (part("state of numpy.random", "s"), "state of numpy.random changed"),
    ],
)
def test_what_changed_is_named_with_both_values(now: CachePart, why: str) -> None:
    assert why_missed(BEFORE, [now if p.name == now.name else p for p in BEFORE]) == why


def test_what_is_new_counts_only_if_nothing_changed() -> None:
    more = [*BEFORE, part("module helpers", "h")]
    assert why_missed(BEFORE, more) == "module `helpers` is used now"
    assert why_missed(more, BEFORE) == "module `helpers` is not used any more"
    edited = [part("code", "b") if p.name == "code" else p for p in more]
    assert why_missed(BEFORE, edited) == "code changed"


def test_of_many_changes_the_first_are_named() -> None:
    before = [part(f"input x{i}", "a") for i in range(5)]
    after = [part(f"input x{i}", "b") for i in range(5)]
    assert why_missed(before, after) == (
        "input `x0` changed, input `x1` changed, input `x2` changed, and 2 more"
    )


def test_the_same_parts_under_another_key_are_not_explained_by_them() -> None:
    assert why_missed(BEFORE, BEFORE) == NOT_KEPT


def kept(key: str, **changes: float) -> Kept:
    values = {"size_bytes": 100, "cost_ucredits": 0, "run_s": 60.0, "hits": 0, "used_at": 0.0}
    return Kept(key=key, **(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "better",
    [
        {"run_s": 120.0},
        {"cost_ucredits": 1_000_000},
        {"hits": 1},
        {"size_bytes": 50},
        {"used_at": DAY_S},
    ],
)
def test_what_saves_more_for_each_byte_stays(better: dict[str, float]) -> None:
    both = [kept("a", **better), kept("b")]
    assert least_valuable(both, 120, 2 * DAY_S) == ["b"]
    assert worth(both[0], 2 * DAY_S) > worth(both[1], 2 * DAY_S) > 0


def test_no_more_go_than_have_to() -> None:
    entries = [kept(f"e{i}", used_at=float(i)) for i in range(10)]
    assert least_valuable(entries, 1000, DAY_S) == []
    assert least_valuable(entries, 801, DAY_S) == ["e0", "e1"]
    assert least_valuable(entries, 0, DAY_S) == [f"e{i}" for i in range(10)]

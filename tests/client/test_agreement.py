from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from jupyter_remote.client.agreement import agreement


@dataclass
class Model:
    weights: Any
    name: str = "model"


class Empty:
    pass


class Slotted:
    __slots__ = ("x",)

    def __init__(self, x: Any) -> None:
        self.x = x


def model_of_another_machine(weights: Any) -> Any:
    cls = type("Model", (), {"__module__": Model.__module__})
    made = cls()
    made.weights, made.name = weights, "model"
    return made


X = np.linspace(0.1, 1, 1000)
DAYS = np.array(["2026-01-01", "NaT"], "M8[ns]")
FRAME = pd.DataFrame({"a": [1, 2, 3], "b": [0.1, 0.2, math.nan], "c": ["x", "y", None]})


@pytest.mark.parametrize(
    ("first", "other"),
    [
        ({}, {}),
        ({"x": 1, "s": "a", "n": None, "t": (1, [2, {3}])},) * 2,
        ({"x": [1, 2.5, "a"]}, {"x": [1, 2.5, "a"]}),
        ({"x": math.nan}, {"x": math.nan}),
        ({"x": X}, {"x": X.copy()}),
        ({"x": np.array([1.0, math.nan, math.inf])}, {"x": np.array([1.0, math.nan, math.inf])}),
        ({"x": np.array(["a", None], object)}, {"x": np.array(["a", None], object)}),
        ({"x": np.array(3.0)}, {"x": np.array(3.0)}),
        ({"df": FRAME}, {"df": FRAME.copy()}),
        ({"m": Model([1, 2])}, {"m": Model([1, 2])}),
        ({"m": Model([1, 2])}, {"m": model_of_another_machine([1, 2])}),
        ({"m": Slotted(X)}, {"m": Slotted(X.copy())}),
        ({"d": Decimal("1.5")}, {"d": Decimal("1.5")}),
        ({"f": lambda x: x + 1}, {"f": lambda x: x + 1}),
        ({"o": Empty()}, {"o": Empty()}),
        ({"o": SimpleNamespace(x=X)}, {"o": SimpleNamespace(x=X.copy())}),
        ({"m": math}, {"m": math}),
        ({"t": DAYS}, {"t": DAYS.copy()}),
        ({"t": np.array(["a", "b"])}, {"t": np.array(["a", "b"])}),
        (np.float64(2), 2.0),
        (OrderedDict(a=1), OrderedDict(a=1)),
    ],
)
def test_what_is_equal_is_identical(first, other):
    assert agreement(first, other).text == "identical"


@pytest.mark.parametrize(
    ("first", "other", "within"),
    [
        ({"x": 1.0}, {"x": 1.0 + 3e-13}, "1e-12"),
        ({"x": X}, {"x": X * (1 + 2e-10)}, "1e-9"),
        ({"x": [0.3, {"y": 0.1 + 0.2}]}, {"x": [0.3, {"y": 0.3}]}, "1e-15"),
        ({"x": np.float32(1.0)}, {"x": np.float32(1.00001)}, "1e-4"),
        ({"df": FRAME}, {"df": FRAME.assign(b=FRAME.b * (1 + 3e-13))}, "1e-12"),
        ({"m": Model(X)}, {"m": Model(X + 1e-16)}, "1e-15"),
        (1 + 1j, 1 + 1j + 1e-14, "1e-14"),
    ],
)
def test_rounding_agrees_and_says_to_which_figure(first, other, within):
    found = agreement(first, other)
    assert (found.kind, found.text) == ("close", f"agree within {within}")


@pytest.mark.parametrize(
    ("first", "other", "text"),
    [
        ({"loss": 0.31}, {"loss": 0.29}, "`loss` 0.31 vs 0.29"),
        ({"loss": np.float64(0.31)}, {"loss": np.float64(0.29)}, "`loss` 0.31 vs 0.29"),
        ({"n": 10**16}, {"n": 10**16 + 1}, "`n` 10000000000000000 vs 10000000000000001"),
        ({"x": np.array([1, 2, 3])}, {"x": np.array([1, 2, 4])}, "`x[2]` 3 vs 4"),
        ({"x": X}, {"x": X * 2}, "(1,000 of 1,000 elements)"),
        ({"x": np.zeros(3)}, {"x": np.zeros((3, 1))}, "`x` of shape (3,) vs (3, 1)"),
        ({"x": np.zeros(3)}, {"x": np.zeros(3, "f4")}, "`x` of float64 vs float32"),
        ({"x": np.array([1.0])}, {"x": np.array([math.nan])}, "`x[0]` 1.0 vs nan"),
        ({"x": 1.0}, {"x": math.inf}, "`x` 1.0 vs inf"),
        ({"a": 1}, {"b": 1}, "`a` only in the first, `b` only in the second"),
        ({"a": [1]}, {"a": [1, 2]}, "`a` of length 1 vs 2"),
        ({"a": [1]}, {"a": (1,)}, "`a` list vs tuple"),
        ({"a": True}, {"a": False}, "`a` True vs False"),
        ({"a": {"b": ["x"]}}, {"a": {"b": ["y"]}}, "`a['b'][0]` 'x' vs 'y'"),
        ({"df": FRAME}, {"df": FRAME.assign(a=[1, 2, 4])}, "`df['a'][2]` 3 vs 4"),
        ({"df": FRAME}, {"df": FRAME[["a"]]}, "`df` has columns"),
        ({"df": FRAME}, {"df": FRAME.head(2)}, "`df.index` of length 3 vs 2"),
        ({"m": Model([1])}, {"m": Model([2])}, "`m.weights[0]` 1 vs 2"),
        ({"f": lambda x: x + 1}, {"f": lambda x: x - 1}, "`f` is another function"),
        ({"t": np.array(["a", "b"])}, {"t": np.array(["a", "c"])}, "`t[1]` 'b' vs 'c'"),
        ("a" * 100, "b", f"'{'a' * 38}… vs 'b'"),
        ({str(i): i for i in range(9)}, {str(i): -1 for i in range(9)}, "and 6 more"),
    ],
)
def test_what_differs_is_named_with_both_values(first, other, text):
    found = agreement(first, other)
    assert found.kind == "differ"
    assert found.text.startswith("differ: ")
    assert text in found.text


def test_a_cycle_ends():
    first: list[Any] = [1]
    first.append(first)
    other: list[Any] = [1]
    other.append(other)
    assert agreement({"x": first}, {"x": other}).kind == "identical"


def test_what_hides_its_content_is_not_said_to_agree():
    first, other = iter([1, 2]), iter([1, 3])
    assert (
        agreement({"it": first}, {"it": other}).text == "cannot be compared: `it` (list_iterator)"
    )

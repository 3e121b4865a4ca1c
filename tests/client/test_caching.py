"""What a key is made of, and what it is not."""

from __future__ import annotations

import functools
import linecache
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jupyter_remote import ambient
from jupyter_remote.client import caching
from jupyter_remote.client.capture import capture_call, capture_cell, capture_files
from jupyter_remote.client.names import plain_transform
from jupyter_remote.client.origin import Question
from jupyter_remote.wire import CachePart, JobSpec

Namespace = dict[str, Any]


@pytest.fixture(autouse=True)
def _nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "_told", set())


def notebook(code: str = "", **values: Any) -> Namespace:
    """A namespace after a cell ran in it."""
    namespace: Namespace = {"__name__": "__main__", **values}
    text = textwrap.dedent(code)
    filename = f"<cell {hash(text)}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    exec(compile(text, filename, "exec"), namespace)
    return namespace


def asked(
    code: str, namespace: Namespace, folder: Path | None = None, files: tuple[str, ...] = (),
    **spec: Any,
) -> Question:  # fmt: skip
    captured = capture_cell(code, namespace, transform=plain_transform(), folder=folder)
    captured.files.extend(capture_files(files, folder))
    made = JobSpec(kind="cell", code=code, ambient=ambient.take(captured.used), **spec)
    return caching.for_cell(captured, made, plain_transform()(code), "cell", namespace)


def key(code: str, namespace: Namespace, *more: Any, **spec: Any) -> str:
    ask = asked(code, namespace, *more, **spec).ask
    assert ask is not None
    return ask.key


def parts(question: Question) -> dict[str, CachePart]:
    assert question.ask is not None
    return {part.name: part for part in question.ask.parts}


def called(function: Callable[..., Any], namespace: Namespace, *args: Any, **kwargs: Any) -> str:
    captured = capture_call(function, args, kwargs, namespace=namespace)
    spec = JobSpec(kind="call", name="f")
    question = caching.for_call(function, args, kwargs, captured, spec, namespace)
    assert question.ask is not None
    return question.ask.key


def test_parts_are_named_and_numbers_shown() -> None:
    names = notebook("def f(x):\n    return x * scale\nscale = 2", text="a secret", a=np.ones(2))
    found = parts(asked("import pandas\ny = f(a) + len(text)", names))
    assert {"Python", "code", "function f", "global scale", "input a", "input text"} <= set(found)
    assert found["global scale"].text == "2"
    assert found["input text"].text == found["input a"].text == ""
    assert found["package numpy"].text == np.__version__
    assert "package pandas" in found
    state = [name for name in found if name.startswith(("state of", "options of"))]
    assert state == ["options of the run"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("y = x + 1", "y = x+1  # more", True),
        ("y = x + 1", "\n\ny = (x + 1)", True),
        ("y = x + 1", "y = x + 2", False),
        ("x", "x;", False),
        ("x;", "x; # quiet", True),
        ("'a'", "'b'", False),
        ("%time y = x", "%time  z = x", False),
    ],
)
def test_code_counts_by_what_it_says(one: str, other: str, same: bool) -> None:
    names = notebook(x=1)
    assert (key(one, names) == key(other, names)) is same


def test_names_that_a_cell_does_not_use_do_not_count() -> None:
    assert key("y = x", notebook(x=1, z=2)) == key("y = x", notebook(z=3, x=1))


def test_another_name_for_an_input_does_not_count() -> None:
    items = [1]
    assert key("items.append(2)", notebook(items=items)) == key(
        "items.append(2)", notebook(items=items, alias=items)
    )
    both = notebook(a=items, b=items)
    assert key("a.append(b[0])", both) != key("a.append(b[0])", notebook(a=[1], b=[1]))


def test_how_a_cell_is_run_counts() -> None:
    names = notebook(x=1)
    plain = key("y = x\ny", names)
    assert plain != key("y = x\ny", names, outputs=[])
    assert plain != key("y = x\ny", names, quiet_progress=False)


def test_files_that_travel_count(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1")
    code, names = "open('a.csv').read()", notebook()
    one = asked(code, names, tmp_path, ("a.csv",))
    assert one.notices == []
    assert "file a.csv" in parts(one)
    (tmp_path / "a.csv").write_text("2")
    assert key(code, names, tmp_path, ("a.csv",)) != one.ask.key  # type: ignore[union-attr]
    [told] = asked(code, names, tmp_path).notices
    assert told.startswith("the code reads 'a.csv', which is not named with --files: ")
    assert asked(code, names, tmp_path).notices == []  # once


def test_random_state_counts_only_for_who_takes_it_up() -> None:
    names = notebook(np=np)
    np.random.seed(1)
    drawn = key("x = np.random.rand()", names)
    assert drawn == key("x = np.random.rand()", names)
    seeded, other = "np.random.seed(0); x = np.random.rand()", "x = np.ones(2)"
    before = [key(code, names) for code in (seeded, other)]
    np.random.rand()
    assert drawn != key("x = np.random.rand()", names)
    assert before == [key(code, names) for code in (seeded, other)]


def test_options_count_where_somebody_set_them() -> None:
    import pandas as pd

    names = notebook(np=np, pd=pd)
    code = "pd.Series(np.ones(3))"
    before = asked(code, names)
    with np.printoptions(precision=3), pd.option_context("display.max_rows", 7):
        found = parts(asked(code, names))
        assert {"options of numpy", "options of pandas"} <= set(found)
    assert asked(code, names).ask == before.ask


def test_what_has_no_content_that_can_be_told_is_not_asked_for() -> None:
    names = notebook("class T: pass\nthings = {T(), T()}")
    question = asked("n = len(things)", names)
    assert question.ask is None
    assert question.notices[0].startswith("not cached: it cannot be told by its content what")


# --- calls -----------------------------------------------------------------------------------
F = "def f(x, y=2, **more):\n    return x * y * scale\nscale = 3"


def test_the_same_call_has_one_key_however_it_is_written() -> None:
    names, again = notebook(F), notebook("# here\n\n" + F)
    one = called(names["f"], names, 1)
    assert one == called(names["f"], names, x=1) == called(names["f"], names, 1, y=2)
    assert one == called(again["f"], again, 1)
    assert one != called(names["f"], names, 1, y=3)
    assert one != called(names["f"], names, 1, z=0)


@pytest.mark.parametrize(
    ("old", "new"), [("scale = 3", "scale = 4"), ("y=2", "y=5"), ("x * y", "x")]
)
def test_what_a_function_is_made_of_counts(old: str, new: str) -> None:
    one, other = notebook(F), notebook(F.replace(old, new))
    assert called(one["f"], one, 1) != called(other["f"], other, 1)


def test_closures_partials_and_methods_count_by_what_they_hold() -> None:
    code = (
        "def make(n):\n    def f(x):\n        return x * n\n    return f\n"
        "class C:\n    def __init__(self, n):\n        self.n = n\n    def m(self, x):\n"
        "        return x * self.n"
    )
    names = notebook(code)
    f, partial = names["make"], functools.partial(names["make"](2), 3)
    assert called(f(2), names, 1) == called(f(2), names, 1) != called(f(3), names, 1)
    assert called(partial, names) != called(functools.partial(f(2), 4), names)
    c = names["C"]
    assert called(c(2).m, names, 1) == called(c(2).m, names, 1) != called(c(3).m, names, 1)


def test_a_function_of_a_module_counts_by_its_name_and_version() -> None:
    names = notebook()
    assert called(np.mean, names, [1]) != called(np.median, names, [1])

"""One key for code that does the same."""

from __future__ import annotations

import functools

import jupyter_remote as jr
from jupyter_remote.client.normalised import key_of_cell, key_of_function

CELL = '"""What it is."""\nx = 1\n\n# why\ndef f(a, b=2):\n    """Adds."""\n    return a + b\n'


def test_comments_white_space_and_docstrings_do_not_count() -> None:
    other = "x=1\ndef f( a,b = 2 ):  # adds\n\n    return (a+b)"
    assert key_of_cell(CELL) == key_of_cell(other)


def test_another_constant_is_other_code() -> None:
    assert key_of_cell(CELL) != key_of_cell(CELL.replace("b=2", "b=3"))


def test_text_that_is_no_python_has_a_key_too() -> None:
    assert len(key_of_cell("?")) == 64
    assert key_of_cell("?") != key_of_cell("??")


def test_a_cell_of_a_string_alone_shows_it() -> None:
    assert key_of_cell("'a'") != key_of_cell("'b'")


def plain(a: int) -> int:
    return a + 1


@jr.remote(max_cost=2)
def marked(a: int) -> int:
    """Adds one."""
    return a + 1  # one


def test_how_a_function_is_run_does_not_count() -> None:
    named = key_of_function(marked)
    assert named != key_of_function(plain)  # their names differ
    source = "def marked(a: int) -> int:\n    return a + 1"
    assert named == key_of_cell(source)


def test_lambdas_on_one_line_are_told_apart() -> None:
    one, two = (lambda x: x + 1), (lambda x: x + 2)
    assert key_of_function(one) != key_of_function(two)


def test_a_partial_is_the_function_and_a_builtin_its_name() -> None:
    assert key_of_function(functools.partial(plain, 1)) == key_of_function(plain)
    assert key_of_function(len) != key_of_function(sum)

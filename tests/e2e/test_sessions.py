"""What people do in a notebook beside plain cells, and what they are told when it goes wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest

from notebooks.show import text_of
from tests.e2e.test_ordinary_cells import run_cells

ANSI = re.compile(r"\x1b\[[0-9;]*m")


class Said(NamedTuple):
    """A cell, what its outputs contain, and what they do not."""

    cell: str
    contains: tuple[str, ...]
    but_not: tuple[str, ...] = ()


FUNCTIONS = """\
import jupyter_remote as jr, helpers
@jr.remote
def fails(how):
    if how == 'value':
        raise ValueError('bad')
    if how == 'group':
        raise ExceptionGroup('grp', [ValueError('one'), TypeError('two')])
    if how == 'generator':
        return (i for i in range(3))
    helpers.fail()
"""
SAID = [
    Said(FUNCTIONS, ()),
    Said("fails('value')", ("Cell In [2], line 5, in fails", "ValueError: bad")),
    Said("%%remote_run\nfails('value')", ("Cell In [4], line 1", "Cell In [2], line 5, in fails")),
    Said(
        "fails('group')",
        ("Cell In [2], line 7, in fails", "ExceptionGroup: grp", "TypeError: two"),
        ("run_code",),
    ),
    Said(
        "try:\n    fails('group')\nexcept* ValueError:\n    print('some')",
        ("some", "TypeError: two"),
        ("run_code",),
    ),
    Said(
        "%%remote_run\nraise ExceptionGroup('grp', [ValueError('one')])", ("Cell In [7], line 1",)
    ),
    Said(
        "fails('generator')",
        ("Cell In[8], line 1", "cannot come home", "a generator", "Return what can be pickled"),
        ("Remote traceback", "--in"),
    ),
    Said("fails('module')", ("File helpers.py:2, in fail", "raise OSError('from a module')")),
    Said("fails('module')", ("File helpers.py:2, in fail", "raise OSError('from a module')")),
    Said("%%remote_run\nhelpers.fail()", ("File helpers.py:2, in fail",)),
    Said("fails(i for i in 'ab')", ("Cell In[12], line 1", "how: generator")),
    Said(
        "jr.Client().submit(open('helpers.py').read)",
        ("Cell In[13], line 1", "cannot travel: it contains an open file"),
        ("PicklingError",),
    ),
    Said("fails.map(['value', 'value']).result()", ("2 of 2 jobs failed", "[2 of 2]", "line 5")),
    Said("jr.remote(machine='nope')(print)()", ("Cell In[15], line 1", "no machine type 'nope'")),
]
HELPERS = "def fail():\n    raise OSError('from a module')\n"


def said(cell: nbformat.NotebookNode) -> str:
    return ANSI.sub("", "".join(text_of(output) for output in cell.outputs))


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder: Path = tmp_path_factory.mktemp("told")
    (folder / "helpers.py").write_text(HELPERS)
    cells = run_cells(["%load_ext jupyter_remote", *(s.cell for s in SAID)], folder)
    return [said(cell) for cell in cells[1:]]


@pytest.mark.parametrize("number", range(len(SAID)))
def test_a_cell_tells_what_is_of_use_and_shows_no_inner_frames(
    number: int, told: list[str]
) -> None:
    expected, found = SAID[number], told[number]
    assert [text for text in expected.contains if text not in found] == [], found
    assert [text for text in expected.but_not if text in found] == [], found
    assert "/jupyter_remote/" not in found, found

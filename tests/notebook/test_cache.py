"""Results that are taken from the cache, in real notebooks on a real backend."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jupyter_remote.wire import CARD_TYPE
from tests.notebook.test_cells import cards, error, run, stream, value

SLOW = "print('worked'); total = sum(df['x']) * scale\ntotal"
SETUP = "import pandas as pd\ndf = pd.DataFrame({'x': [1, 2, 3]}); scale = 2"


@pytest.fixture(autouse=True)
def _own_backend(fresh_home: Path) -> None:
    """What one test keeps is nothing to another."""


def cached(code: str, options: str = "") -> str:
    return f"%%remote_run --cache {options}\n{code}"


def status(cell) -> str:
    return cards(cell)[-1][CARD_TYPE]["texts"]["status"]


def is_hit(cell) -> bool:
    return status(cell).startswith("completed: from the cache")


def notices(cell) -> str:
    return stream(cell, "stderr")


def missed(cell) -> str:
    found = re.search("not in the cache: (.*)\n", notices(cell))
    assert found is not None, notices(cell)
    return found[1]


def test_a_hit_gives_value_and_output_at_once(tmp_path):
    use = cached(SLOW)
    there = run(tmp_path, SETUP, use)
    lines = ["%remote history last", "%remote cache stats", "%remote show last"]
    here = run(tmp_path, "'another notebook, and another number of the cell'", SETUP, use, *lines)
    first, (again, history, stats, shown) = there[1], here[2:]
    assert missed(first) == "first run"
    assert re.match(r"completed: added 1 entry to the cache \(\d+ B\)", status(first))
    assert is_hit(again)
    assert stream(again) == "worked\n"
    assert value(again) == value(first) == "12"
    assert again.outputs[-1].execution_count == again.execution_count
    assert "taken from the cache: the result of job" in value(history)
    assert "1 hit, 1 miss; saved $0 and" in value(stats)
    assert "it was given the result of job" in value(shown)


CHANGES = {
    "code": (SETUP, SLOW.replace("sum", "max"), "code changed"),
    "global": (SETUP.replace("scale = 2", "scale = 3"), SLOW, "input `scale` changed: 2 → 3"),
    "input": (SETUP.replace("3]", "4]"), SLOW, "input `df` changed"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_miss_says_what_changed(tmp_path, kind):
    setup, code, why = CHANGES[kind]
    cells = run(tmp_path, SETUP, cached(SLOW), setup, cached(code), SETUP, cached(SLOW))
    assert missed(cells[3]) == why
    assert is_hit(cells[5])
    assert value(cells[5]) == "12"


def test_what_functions_use_counts_transitively(tmp_path):
    define = (
        "rate = 2\ndef inner(x):\n    return x * rate\ndef outer(x):\n    return inner(x) + 1\n"
        "class Model:\n    def fit(self):\n        return outer(3)\nmodel = Model()"
    )
    use = cached("y = model.fit()\ny")
    cells = run(
        tmp_path, define, use,
        "rate = 5", use,
        define.replace("+ 1", "+ 2"), use,
        define.replace("x * rate", "x *  rate  # as it is"), use,
    )  # fmt: skip
    assert [value(cells[i]) for i in (1, 3, 5, 7)] == ["7", "16", "8", "7"]
    assert missed(cells[3]) == "global `rate` changed: 2 → 5"
    assert "function `outer` changed" in missed(cells[5])
    assert is_hit(cells[7])


def test_modules_beside_the_notebook_count_by_what_they_say(tmp_path):
    helpers = tmp_path / "helpers.py"
    helpers.write_text("import deeper\ndef f(x):\n    return deeper.g(x) + 1\n")
    (tmp_path / "deeper.py").write_text("def g(x):\n    return 2 * x\n")
    use = cached("import helpers\ny = helpers.f(3)\ny")
    first = run(tmp_path, use)[0]
    helpers.write_text("# how it is done\n" + helpers.read_text())
    commented = run(tmp_path, use)[0]
    (tmp_path / "deeper.py").write_text("def g(x):\n    return 5 * x\n")
    edited = run(tmp_path, use)[0]
    assert (value(first), value(commented), value(edited)) == ("7", "7", "16")
    assert is_hit(commented)
    assert missed(edited) == "module `deeper` changed"


def test_another_version_of_a_package_is_a_miss(tmp_path):
    package = tmp_path / "site-packages" / "scales"
    package.mkdir(parents=True)
    path = f"import sys; sys.path.insert(0, {str(package.parent)!r})\nimport os"
    init = "__version__ = '1.0'\ndef f(x):\n    return x + 1\n"
    use = cached("import os, sys\nsys.path.insert(0, sites)\nimport scales\ny = scales.f(1)\ny")
    setup = f"sites = {str(package.parent)!r}\n{path}\nimport scales"
    (package / "__init__.py").write_text(init)
    first = run(tmp_path, setup, use)[1]
    again = run(tmp_path, setup, use)[1]
    (package / "__init__.py").write_text(init.replace("1.0", "1.1").replace("+ 1", "+ 2"))
    newer = run(tmp_path, setup, use)[1]
    assert value(first) == value(again) == "2"
    assert is_hit(again)
    assert missed(newer) == "package scales: 1.0 → 1.1"
    assert value(newer) == "3"


def test_objects_that_a_cell_changes_are_the_notebooks_own(tmp_path):
    """The same objects in another notebook, which came about in another way."""
    make = "items = [{'k': ['a b']}, 1]\ninner = items[0]['k']\nholder = (inner,)\ntext = {}"
    other = "items = [dict(k=[' '.join(['a', 'b'])]), 1]\ninner = items[0]['k']\nholder = (inner,)"
    change = cached("items[0]['k'].append('c'); items.append(inner); new = [inner]")
    look = (
        "(items, inner is items[0]['k'] is items[2] is new[0] is holder[0], inner, same is inner)"
    )
    first = run(tmp_path, make, "same = inner", change, look)
    again = run(tmp_path, other + "; text = {}", "same = inner", change, look)
    assert not is_hit(first[2])
    assert is_hit(again[2])
    expected = "([{'k': ['a b', 'c']}, 1, ['a b', 'c']], True, ['a b', 'c'], True)"
    assert value(first[3]) == value(again[3]) == expected


def test_arrays_frames_and_instances_change_in_place(tmp_path):
    make = (
        "import numpy as np, pandas as pd\nclass Box:\n    def __init__(self):\n"
        "        self.items = []\n    def add(self, x):\n        self.items.append(x)\n"
        "box = Box(); a = np.zeros(50_000); view = box.items; df = pd.DataFrame({'x': [1, 2]})"
    )
    change = cached("box.add(box); a[7] = 3; df['y'] = df['x'] * 2; c = Box")
    look = "(box.items[0] is box, view is box.items, a[7], list(df.columns), c is Box)"
    results = [run(tmp_path, make, change, look) for _ in range(2)]
    assert is_hit(results[1][1])
    for cells in results:
        assert value(cells[2]).replace("np.float64(3.0)", "3.0") == (
            "(True, True, 3.0, ['x', 'y'], True)"
        )


def test_calls_are_cached_and_every_notebook_shares_them(tmp_path):
    define = "@jr.remote(cache=True)\ndef f(x, y=2):\n    print('in f')\n    return x * y + base\n"
    first = run(tmp_path, "base = 1\n" + define, "f(3)", "f(x=3, y=2)", "base = 2; f(3)")
    assert [value(c) for c in first[1:]] == ["7", "7", "8"]
    assert is_hit(first[2])
    assert stream(first[2]) == "in f\n"
    assert missed(first[3]) == "global `base` changed: 1 → 2"
    there = run(tmp_path, "base = 1\n" + define.replace("return", "# it\n    return"), "f(3)")
    assert is_hit(there[1])
    assert value(there[1]) == "7"


def test_the_toggle_holds_for_cells_and_functions(tmp_path):
    cells = run(
        tmp_path,
        "%remote cache on",
        "%%remote_run\nx = 1 + 1\nx",
        "%%remote_run\nx = 1 + 1\nx",
        "%%remote_run --no-cache\nx = 1 + 1\nx",
        "@jr.remote\ndef f():\n    return 5",
        "f()",
        "f()",
        "%remote cache off",
        "%%remote_run\nx = 1 + 1\nx",
        "%remote cache",
    )
    assert stream(cells[0]).startswith("on: ")
    assert is_hit(cells[2])
    assert is_hit(cells[6])
    assert status(cells[3]) == status(cells[8]) == "completed"
    assert stream(cells[9]).startswith("off: ")


def test_random_numbers_are_those_that_would_have_been_drawn(tmp_path):
    seed, draw = "import numpy as np, random\nnp.random.seed(3)", cached("x = np.random.rand()\nx")
    after = "np.random.rand()"
    first = run(tmp_path, seed, draw, after, draw)
    again = run(tmp_path, seed, draw, after)
    assert "draws random numbers without a seed: numpy.random.rand()" in notices(first[1])
    assert missed(first[3]) == "state of numpy.random changed"
    assert is_hit(again[1])
    assert [value(c) for c in again[1:]] == [value(c) for c in first[1:3]]
    seeded = cached("np.random.seed(1); x = np.random.rand()\nx")
    cells = run(tmp_path, seed, seeded, after, seeded, after)
    assert is_hit(cells[3])
    assert value(cells[2]) == value(cells[4])


def test_code_that_is_plainly_not_repeatable_is_told_once(tmp_path):
    code = cached("import time\nt = time.time()")
    cells = run(tmp_path, code, code, cached("import time\n\nt = time.time()  # now"))
    told = "the code calls time.time(): a result from the cache is that of its run"
    assert [told in notices(c) for c in cells] == [True, False, False]
    assert is_hit(cells[1])


def test_figures_and_displays_come_again(tmp_path):
    code = cached(
        "from IPython.display import display, HTML\nimport sys\ndisplay(HTML('<b>x</b>'))\n"
        "print('err', file=sys.stderr)"
    )
    first, again = run(tmp_path, code, code)
    assert is_hit(again)
    shown = [[o.data["text/html"] for o in c.outputs if "text/html" in o.get("data", {})]
             for c in (first, again)]  # fmt: skip
    assert [h[-1] for h in shown] == ["<b>x</b>", "<b>x</b>"]
    assert stream(again, "stderr") == "err\n"


def test_a_quiet_cell_says_nothing_of_the_cache(tmp_path):
    code = cached("import time\nprint(round(time.time() * 0))", "-q")
    first, again, history = run(tmp_path, code, code, "%remote history last")
    assert [(stream(c), notices(c), cards(c)) for c in (first, again)] == [("0\n", "", [])] * 2
    assert "taken from the cache" in value(history)


def test_failed_cells_and_cells_of_sessions_are_not_cached(tmp_path):
    fails = cached("x = 1/0")
    cells = run(
        tmp_path, fails, fails, cached("y = 1", "-s kept"), cached("y = 1", "-s kept"),
        "%remote cache stats", "%remote stop kept",
    )  # fmt: skip
    assert error(cells[1]).ename == "ZeroDivisionError"
    assert missed(cells[1]) == "first run"
    told = "cells of a session are not cached"
    assert [told in notices(c) for c in cells[2:4]] == [True, False]
    assert "0 entries" in value(cells[4])


def test_a_value_without_content_is_named_once(tmp_path):
    code = cached("n = len(things)")
    cells = run(tmp_path, "class T: pass\nthings = {T(), T()}", code, code)
    assert "not cached: it cannot be told by its content what `things` is (set: " in notices(
        cells[1]
    )
    assert "not cached" not in notices(cells[2])
    assert status(cells[1]) == "completed"


def test_jobs_in_the_background_are_cached(tmp_path):
    code = cached("z = 3; print('bg')", "--bg -n job")
    cells = run(tmp_path, code, "job.result()", code, "(job.result(), job.cost, job.stdout)", "z")
    assert value(cells[3]) == "({'z': 3}, 0.0, 'bg\\n')"
    assert value(cells[4]) == "3"


def test_a_plan_says_that_it_is_there(tmp_path):
    code = "x = 2 + 2\nx"
    cells = run(tmp_path, cached(code), cached(code, "--plan"), cached(code + "  ", "--plan"),
                cached("x = 2 + 3\nx", "--plan"))  # fmt: skip
    assert "in the cache  free: the result of job" in cells[1].outputs[0].data["text/plain"]
    assert "in the cache" not in cells[3].outputs[0].data["text/plain"]


def test_entries_are_cleared_by_their_name_or_all(tmp_path):
    one, two = cached("one = 1"), cached("two = 2")
    cells = run(tmp_path, one, two, "%remote cache clear one", two, one,
                "%remote cache clear", "%remote cache clear --all", "%remote cache clear none",
                two)  # fmt: skip
    assert stream(cells[2]).startswith("cleared 1 entry (")
    assert is_hit(cells[3])
    assert missed(cells[4]) == "this code ran before, and no result of it is kept"
    assert "say what to clear" in error(cells[5]).evalue
    assert stream(cells[6]).startswith("cleared 2 entries (")
    assert "nothing of 'none'" in error(cells[7]).evalue
    assert not is_hit(cells[8])


def test_a_whole_notebook_is_cached_by_what_it_says(tmp_path):
    import nbformat

    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print(6 * 7)")])
    path = tmp_path / "book.ipynb"
    nbformat.write(book, path)
    line = (
        "job = jr.Client().run_notebook('book.ipynb', cache=True)\n"
        "(job.result().cells[0].outputs[0].text, job.view.cached_from != '')"
    )
    first = run(tmp_path, line)[0]
    book.cells[0].outputs = [nbformat.v4.new_output("stream", text="old")]
    nbformat.write(book, path)
    again = run(tmp_path, line)[0]
    book.cells[0].source = "print(6 * 8)"
    nbformat.write(book, path)
    edited = run(tmp_path, line)[0]
    assert [value(c) for c in (first, again, edited)] == [
        "('42\\n', False)", "('42\\n', True)", "('48\\n', False)",
    ]  # fmt: skip


def test_an_entry_is_called_after_what_its_cell_computes_not_after_what_it_imports(tmp_path):
    cells = run(
        tmp_path,
        "%%remote_run --cache\nimport os.path, math as m\nfrom time import time\ncalled_so = m.pi",
        "%remote cache clear called_so",
    )
    assert "cleared 1 entry" in stream(cells[1])

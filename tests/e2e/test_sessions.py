"""What people do in a notebook beside plain cells, and what they are told when it goes wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest

from notebooks.show import text_of
from tests.e2e.test_ordinary_cells import run_cells, shown

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
    Said("%%remote_run\nopen('data.csv')", ("is beside this notebook: `--files data.csv`",)),
    Said("%%remote_run\nopen('nowhere.csv')", ("No such file",), ("--files",)),
    Said("%env MINE=1", ()),
    Said("%%remote_run\nimport os\nos.environ['MINE']", ("set MINE in the cell",)),
    Said(
        "%%remote_run --files data.csv\nimport os\nos.mkdir('x')\n"
        "for name in ('x/new.txt', 'data.csv'):\n    with open(name, 'a') as f: f.write('1')",
        ("x/new.txt (file) stayed", "data.csv (file) stayed"),
    ),
    Said("a = 1; b = 2", ()),
    Said("%%remote_run -q -i a, b -o c , d\nc = b; d = a; e = 3", (), ("Error",)),
    Said("c, d, 'e' in globals()", ("(2, 1, False)",)),
    Said("%%remote_run -n a,b\n1", ("'a,b' is not the name of a variable", "write one name")),
    Said("with open('helpers.py', 'a') as f: f.write('def new(): return 1\\n')", ()),
    Said(
        "%%remote_run\nfrom helpers import new\nz = new()",
        ("cannot be opened here", "importlib.reload(helpers)", "%remote result "),
    ),
    Said("import importlib\nimportlib.reload(helpers)\n%remote result last", ("'z': 1",)),
    Said("@jr.remote(machine='g5.xlarge', timeout='1h')\ndef costly(n): return n + 1", ()),
    Said("%remote cost costly(1)", ("g5.xlarge (simulated): ",), ("free",)),
    Said("%remote plan -m g4dn.xlarge.od costly(1)", ("g4dn.xlarge.od", "1 h")),
    Said("%remote run !echo from there", ("from there",), ("SyntaxError",)),
    Said("%remote run costly(1)", ("g5.xlarge (simulated)", "2")),
    Said(
        "@jr.remote\nasync def later(n):\n    print('there')\n    return 1 / n\nawait later(2)",
        ("there", "0.5"),
    ),
    Said(
        "await later(0)",
        ("there", "Cell In [33], line 4, in later", "ZeroDivisionError"),
        ("asyncio",),
    ),
]
HELPERS = "def fail():\n    raise OSError('from a module')\n"


def said(cell: nbformat.NotebookNode) -> str:
    return ANSI.sub("", "".join(text_of(output) for output in cell.outputs))


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder: Path = tmp_path_factory.mktemp("told")
    (folder / "helpers.py").write_text(HELPERS)
    (folder / "data.csv").write_text("a,b\n1,2\n")
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


# --- state that no variable holds, and what variables refer to ---------------------------------
SESSION = [
    "import numpy as np, pandas as pd, random, matplotlib, warnings, logging, sys\n"
    "np.random.seed(3); random.seed(1); np.set_printoptions(precision=2)\n"
    "pd.set_option('display.max_rows', 4); matplotlib.rcParams['lines.linewidth'] = 5\n"
    "warnings.filterwarnings('ignore')\n"
    "logging.basicConfig(level=logging.INFO, format='%(levelname)s: %(message)s')\n"
    "log = logging.getLogger('train')",
    "drawn = np.random.rand(2), random.random(); drawn",
    "import sys\nwarnings.warn('hidden'); log.info('seen'); matplotlib.rcParams['lines.linewidth']",
    "pd.DataFrame({'a': range(10)})",
    "rng = np.random.default_rng(0); rng.normal()",
    "import sklearn\nfrom sklearn.preprocessing import StandardScaler\n"
    "sklearn.set_config(transform_output='pandas'); sys.setrecursionlimit(9000)\n"
    "logging.disable(logging.WARNING)\ndef depth(n): return n and 1 + depth(n - 1)",
    "log.info('not seen')\n"
    "depth(4000), StandardScaler().fit_transform(pd.DataFrame({'a': [1.0, 2.0]}))",
    "logging.disable(logging.NOTSET); sys.setrecursionlimit(3000)",
    "log.info('seen again')\nsys.getrecursionlimit()",
    "import re\nm = re.search('(b)', 'abc'); found = list(re.finditer('.', 'xyz'))",
    "m[1], m.span(), [f.start() for f in found]",
    "pd.Series(range(9)).sample(2).tolist(), rng.normal(), np.random.rand(2)",
    "np.random.shuffle(order := list(range(9))); matplotlib.rcParams['lines.linewidth'] = 2; order",
    "class Shape:\n    all = []\n    def __init__(self): Shape.all.append(self)\nfirst = Shape()",
    "second = Shape(); len(Shape.all)",
    "len(Shape.all), Shape.all[1] is second, Shape.all[0] is first",
    "def remember(x, seen=[]):\n    seen.append(x)\n    return list(seen)\nremember(1)",
    "remember(2); remember(3)",
    "it = iter(range(9)); next(it); it2 = it",
    "next(it), next(it2)",
    "import collections\nqueue = collections.deque([1], maxlen=2); hooks = {'add': queue.append}",
    "hooks['add'](2); hooks['add'](3); queue",
    "me = []; me.append(me); me.append(1)",
    "me[0] is me, len(me)",
    "list = [3, 1]; sum = 4\nlist.append(sum)",
    "list.sort(); _private = list[0], sum; del list, sum; _private",
    "import drawing\ndrawing.draw()",
    "[drawing.draw() for _ in range(3)]",
    "warnings.resetwarnings(); warnings.simplefilter('error', pd.errors.PerformanceWarning)",
    "try:\n    warnings.warn('slow', pd.errors.PerformanceWarning)\n"
    "except Warning as error:\n    print(type(error), len(warnings.filters))",
    "warnings.filterwarnings('ignore')",
    "%config InteractiveShell.ast_node_interactivity = 'all'\nfrom __future__ import annotations",
    "def typed(x: unknown): return x\ntyped.__annotations__\ntyped(2)",
    "%config InteractiveShell.ast_node_interactivity = 'last_expr'",
    "import matplotlib.pyplot as plt\nfig, ax = plt.subplots(); ax.plot([1, 2]);",
    "%config InlineBackend.figure_formats = ['svg']\nfig",
    "fig",
]
DRAWING = "import numpy as np\n\ndef draw():\n    return np.random.rand()\n"
STATE = "drawn, order, queue, me, _private, np.random.rand(), random.random(), rng.normal()"


def test_sessions_go_as_they_do_here(tmp_path_factory: pytest.TempPathFactory) -> None:
    folders = [tmp_path_factory.mktemp(name) for name in ("here", "there")]
    for folder in folders:
        (folder / "drawing.py").write_text(DRAWING)
    here = run_cells([*SESSION, STATE], folders[0])
    remote = ["%load_ext jupyter_remote", *(f"%%remote_run\n{c}" for c in SESSION), STATE]
    there = run_cells(remote, folders[1])[1:]
    pairs = [(h.source, shown(h), shown(t)) for h, t in zip(here, there, strict=True)]
    assert [pair for pair in pairs if pair[1] != pair[2]] == []

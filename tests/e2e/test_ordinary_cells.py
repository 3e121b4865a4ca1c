"""Ordinary cells end with the same variables and outputs, run here or with ``%%remote_run`` above."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest

from notebooks.show import run

CARD = "application/vnd.jupyter-remote.job+json"
CELLS = [
    "import math, random, re, json\nfrom collections import Counter, defaultdict\nrandom.seed(4)",
    "words = 'the quick brown fox jumps over the lazy dog the end'.split()\nwords[:3]",
    "counts = Counter(words)\nfor word, n in counts.most_common(2):\n    print(word, n)",
    "def normalise(text, *, upper=False):\n"
    '    """Trim it."""\n'
    "    out = re.sub(r'\\W+', ' ', text).strip()\n"
    "    return out.upper() if upper else out",
    "cleaned = [normalise(w + '!', upper=i % 2 == 0) for i, w in enumerate(words)]\ncleaned[-1]",
    "calls = 0\n\ndef counted(x):\n    global calls\n    calls += 1\n    return x * x",
    "squares = list(map(counted, range(5)))\nprint(calls)",
    "def make_adder(n):\n    def add(x):\n        return x + n\n    return add\n\nadd3 = make_adder(3)",
    "print(add3(4)); added = add3(squares[-1])",
    "class Account:\n"
    "    rate = 0.1\n\n"
    "    def __init__(self, owner, amount=0):\n"
    "        self.owner, self.amount, self.log = owner, amount, []\n\n"
    "    def deposit(self, n):\n"
    "        self.amount += n\n"
    "        self.log.append(('deposit', n))\n"
    "        return self\n\n"
    "    def __repr__(self):\n"
    "        return f'{self.owner}: {self.amount}'\n",
    "account = Account('Ada', 10)\naccount.deposit(5)",
    "account.deposit(7)\nfirst = account\nisinstance(account, Account)",
    "from dataclasses import dataclass, field\n\n"
    "@dataclass\nclass Point:\n    x: int\n    y: int = 0\n    tags: list = field(default_factory=list)",
    "points = [Point(i, i * i) for i in range(3)]\npoints[1].tags.append('mid')\npoints",
    "import numpy as np\nimport pandas as pd\nrng = np.random.default_rng(0)",
    "df = pd.DataFrame({'a': np.arange(6), 'b': list('xyxyxy'), 'c': rng.normal(size=6).round(3)})\ndf",
    "df['d'] = df.a * 2\nby = df.groupby('b')[['a', 'd']].sum()\nby",
    "alias = df\nalias.loc[0, 'a'] = 100\ndf.a.sum()",
    "arr = np.zeros((3, 3))\narr[1] = 7\narr.sum()",
    "view = arr.T\narr[0, 0] = -1\nprint(arr)",
    "total = 0\nfor i, row in enumerate(arr):\n    if i == 1:\n        continue\n    total += row.sum()\ntotal",
    "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    message = str(error)\nmessage",
    "with open('note.txt', 'w') as handle:\n    handle.write('hello')\nwith open('note.txt') as handle:\n"
    "    text = handle.read()\nimport os; os.remove('note.txt')\ndel handle, os\ntext",
    "import asyncio\n\nasync def double(x):\n    await asyncio.sleep(0)\n    return 2 * x",
    "doubled = await asyncio.gather(*(double(i) for i in range(3)))\ndoubled",
    "if (n := len(doubled)) > 2:\n    print(f'{n} long')",
    "nested = {'k': [1, 2, {'deep': (3, 4)}]}\nnested['k'][2]['more'] = {5}\nnested",
    "a, *rest, (b, c) = 1, 2, 3, (4, 5)\nprint(a, rest, b, c)",
    "del rest\nshared = [1]\npair = (shared, shared)\npair[0].append(2)\npair[1]",
    "pair[0] is pair[1] and pair[0] is shared",
    "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot(squares); plt.show()",
    "%time q = sum(range(10))\nq",
    "lines = !echo one; echo two\nlines",
    "from sklearn.linear_model import LinearRegression\nmodel = LinearRegression()",
    "X = df[['a', 'd']].to_numpy(dtype=float)\nmodel.fit(X, df.c)\nround(model.score(X, df.c), 6)",
    "def fact(n):\n    return 1 if n < 2 else n * fact(n - 1)\n\nfact(10)",
    "gen = (x * x for x in range(3))\nfrom_gen = list(gen)\ndel gen\nfrom_gen",
    "class Child(Account):\n    def deposit(self, n):\n        return super().deposit(n * 2)\n\n"
    "child = Child('Bob').deposit(4)\nchild",
    "import sys\nprint('to stderr', file=sys.stderr)\nsorted(vars(child))",
    "lookup = defaultdict(list)\nfor w in words:\n    lookup[len(w)].append(w)\ndict(lookup)",
    "from functools import lru_cache, partial\nadd10 = partial(lambda x, y: x + y, 10)\nadd10(5)",
    "s = {w for w in words if 'o' in w}\nsorted(s)",
    "matrix = [[i * j for j in range(3)] for i in range(3)]\nmatrix[1][1] = 'changed'\nmatrix",
    "from IPython.display import HTML, display\ndisplay(HTML('<b>bold</b>')); print('after')",
    "x = 5\nx += 1\nx",
    "assert account is first and account.amount == 22, account\naccount.log",
]
DUMP = """
import hashlib as _h, json as _j
def _show(v):
    if hasattr(v, 'to_csv'): return v.to_csv()
    if type(v).__module__ == 'numpy' and hasattr(v, 'tolist'): return repr(v.tolist())
    if callable(v): return 'callable ' + getattr(v, '__name__', type(v).__name__)
    if type(v).__name__ in ('LinearRegression',): return repr(v.coef_.round(6).tolist())
    if type(v).__name__ in ('Generator', 'Thread') or type(v).__name__ == 'module': return type(v).__name__
    if isinstance(v, (set, frozenset)): return repr(sorted(v))
    return repr(v)
print(_j.dumps({k: _show(v) for k, v in sorted(globals().items())
                if not k.startswith('_') and k not in ('In', 'Out', 'get_ipython', 'exit', 'quit', 'open')}))
"""


def run_cells(cells: list[str], folder: Path) -> list[nbformat.NotebookNode]:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    nbformat.write(notebook, folder / "cells.ipynb")
    return run(folder / "cells.ipynb", allow_errors=True).cells


def shown(cell: nbformat.NotebookNode) -> list[str]:
    """Outputs as text, streams joined, without job cards and times."""
    out: list[str] = []
    for o in cell.outputs:
        if o.output_type == "error":
            out.append(f"{o.ename}: {o.evalue}")
        elif o.output_type == "stream":
            text = "\n".join(x for x in o.text.splitlines() if "time" not in x and "µs" not in x)
            out.append(f"{o.name}: {text}")
        elif CARD not in o.data:
            pictures = [kind for kind in o.data if kind.startswith("image/")]
            out.append(" ".join(pictures) or o.data["text/plain"])
    return sorted(x for x in out if not x.endswith(": "))


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    here = run_cells([*CELLS, DUMP], tmp_path_factory.mktemp("here"))
    remote = ["%load_ext jupyter_remote", *(f"%%remote_run\n{c}" for c in CELLS), DUMP]
    there = run_cells(remote, tmp_path_factory.mktemp("there"))
    return here, there[1:]


def test_each_ordinary_cell_shows_the_same(both):
    here, there = both
    different = {
        c.source: (shown(c), shown(t))
        for c, t in zip(here[:-1], there[:-1], strict=True)
        if shown(c) != shown(t)
    }
    assert not different, json.dumps(different, indent=1)


def test_all_variables_end_the_same(both):
    here, there = (json.loads(cells[-1].outputs[0].text) for cells in both)
    different = {k: (v, there.get(k)) for k, v in here.items() if there.get(k) != v}
    assert not different, json.dumps(different, indent=1)
    assert set(there) - set(here) <= {"jr"}

"""What plainly differs from run to run is seen in the code."""

from __future__ import annotations

import ast
import datetime
import random
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from jupyter_remote.client.repeatable import Look, look

NAMES: dict[str, Any] = {"np": np, "pd": pd, "time": time, "random": random, "datetime": datetime,
                         "now": datetime.datetime.now, "draw": np.random.rand,
                         "shuffle": random.shuffle}  # fmt: skip


DRAWS, NET = "draws random numbers without a seed", "uses the network"
UNNAMED = "is not named with --files"


def seen(cell: str, functions: Iterable[str] = (), files: Iterable[str] = ()) -> Look:
    return look(ast.parse(cell), [ast.parse(f) for f in functions], NAMES, files)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("t = time.time()", "calls time.time()"),
        ("import time as t\nt.perf_counter()", "calls time.perf_counter()"),
        ("from time import time\ntime()", "calls time.time()"),
        ("datetime.datetime.now()", "calls datetime.datetime.now()"),
        ("from datetime import datetime as d\nd.now()", "calls datetime.datetime.now()"),
        ("pd.Timestamp.now()", "calls pandas.Timestamp.now()"),
        ("import uuid\nuuid.uuid4()", "calls uuid.uuid4()"),
        ("import os\nos.urandom(3)", "calls os.urandom()"),
        ("import secrets\nsecrets.token_hex()", "calls secrets.token_hex()"),
        ("input('?')", "calls input()"),
        ("np.random.rand(2)", f"{DRAWS}: numpy.random.rand()"),
        ("draw(2)", f"{DRAWS}: numpy.random.rand()"),
        ("shuffle([])", f"{DRAWS}: random.shuffle()"),
        ("np.random.default_rng()", f"{DRAWS}: numpy.random.default_rng()"),
        ("import requests\nrequests.get(url)", "uses the network: requests.get()"),
        ("from urllib.request import urlopen\nurlopen(u)", f"{NET}: urllib.request.urlopen()"),
        ("pd.read_csv('https://x.org/a?k=1')", "uses the network: https://x.org/a"),
        ("pd.read_csv('a.csv')", f"reads 'a.csv', which {UNNAMED}"),
        ("with open('a') as f: pass", f"reads 'a', which {UNNAMED}"),
        ("np.load('a.npy')", f"reads 'a.npy', which {UNNAMED}"),
        ("open(path)", "reads files that are not named with --files"),
        ("from pathlib import Path\nPath('a').read_text()", f"reads 'a', which {UNNAMED}"),
        ("import subprocess\nsubprocess.run(['ls'])", "runs a command: subprocess.run()"),
        ("get_ipython().system('ls')", "runs a shell command"),
        ("get_ipython().run_line_magic('run', 'a.py')", "runs a file with %run"),
        ("get_ipython().run_cell_magic('bash', '', 'ls')", "runs a shell command"),
    ],
)  # fmt: skip
def test_what_differs_from_run_to_run_is_named(code: str, told: str) -> None:
    assert seen(code).found == [told]


@pytest.mark.parametrize(
    "code",
    [
        "time.sleep(1)",
        "np.random.default_rng(3).random()",
        "rng = np.random.RandomState(1); rng.rand(2)",
        "random.Random(2).random()",
        "np.random.seed(0); np.random.rand(2)",
        "import random as r\nr.seed(1)\nr.random()",
        "open('a', 'w')",
        "with open('a', mode='w') as f: pass",
        "self.time(); frame.now(); load('x')",
        "def time(): pass\nx.open()",
    ],
)
def test_what_is_the_same_each_time_is_not(code: str) -> None:
    assert seen(code) == Look([], frozenset())


def test_files_that_travel_may_be_read() -> None:
    code = "pd.read_csv('./data/a.csv'); open('b.txt'); open(path)"
    assert seen(code, files=["data/a.csv", "b.txt"]).found == []
    assert seen("open('data/c')", files=["data/a.csv"]).found == [
        "reads 'data/c', which is not named with --files"
    ]


def test_a_generator_counts_where_it_is_drawn_from_before_a_seed() -> None:
    assert seen("np.random.rand(); random.random()").draws == {"numpy.random", "random"}
    assert seen("x = np.random.rand()\nnp.random.seed(0)").draws == {"numpy.random"}
    assert seen("np.random.seed(0)\nx = np.random.rand()").draws == frozenset()


def test_functions_draw_after_the_seed_of_the_cell() -> None:
    function = "def f():\n    return np.random.rand()"
    assert seen("f()", [function]).draws == {"numpy.random"}
    assert seen("np.random.seed(0); f()", [function]).draws == frozenset()
    assert seen("g()", ["def g():\n    np.random.seed(0)", function]).draws == {"numpy.random"}


def test_each_is_named_once() -> None:
    assert len(seen("time.time(); time.time()", ["def f():\n    time.time()"]).found) == 1

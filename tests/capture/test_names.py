"""Which names a cell needs, gives and deletes."""

# ruff: noqa: E501  (cells are easier to read in one piece)

from __future__ import annotations

import builtins
import textwrap
import time

import pytest

from jupyter_remote.client.names import CellNames, analyse

HIDDEN = {*dir(builtins), "get_ipython"}


def names(source: str) -> CellNames:
    return analyse(textwrap.dedent(source))


def reads(source: str) -> set[str]:
    return set(names(source).reads) - HIDDEN


# cell, names it needs, names it assigns
CELLS = [
    ("", "", ""),
    ("# only a comment", "", ""),
    ("x = y + 1", "y", "x"),
    ("x = 1\nprint(x)", "", "x"),
    ("print(x)\nx = 1", "x", "x"),
    ("x += 1", "x", "x"),
    ("x: int = y", "y", "x"),
    ("x: T", "T", ""),
    ("x: 'T' = 1", "T", "x"),
    ("a, (b, *c), d.e, f[g] = h", "d f g h", "a b c"),
    ("a = b = c", "c", "a b"),
    ("d['k'] = 1\nd.attr = 2", "d", ""),
    ("for i in items: total = i", "items", "i total"),
    ("for i in items: pass\nprint(i)", "items i", "i"),
    ("for i in items:\n    x = 1\nelse:\n    y = 2\nprint(x, y)", "items x", "i x y"),
    ("for k, d[k] in pairs: pass", "pairs d", "k"),
    ("while go: x = 1\nx", "go x", "x"),
    ("while True:\n    x = 1\n    if x: break\nx", "", "x"),
    ("while True:\n    if a: break\n    x = 1\nx", "a x", "x"),
    ("if c: x = 1\nx", "c x", "x"),
    ("if c: x = 1\nelse: x = 2\nx", "c", "x"),
    ("if c: x = 1\nelse: raise E\nx", "c E", "x"),
    ("x = 1 if c else y", "c y", "x"),
    ("c and (x := 1)\nx", "c x", "x"),
    ("(x := 1) and x", "", "x"),
    ("f(y := 2, y)", "f", "y"),
    ("try: x = f()\nexcept E: pass\nx", "f E x", "x"),
    ("try: x = f()\nexcept E: x = 0\nx", "f E", "x"),
    ("try: x = f()\nexcept E: raise\nx", "f E", "x"),
    ("try: pass\nexcept E: x = 0\nelse: x = 1\nx", "E", "x"),
    ("try: f()\nfinally: x = 1\nx", "f", "x"),
    ("try: x = f()\nfinally: print(x)", "f x", "x"),
    ("try: f()\nexcept E as e: print(e)\ne", "f E e", "e"),
    ("try: f()\nexcept* E as e: print(e)", "f E e", "e"),
    ("with f() as h, g(h) as (a, b): x = h\nx", "f g", "h a b x"),
    ("with suppress(E): x = f()\nx", "suppress E f x", "x"),
    ("async with f() as h: await g(h)", "f g", "h"),
    ("async for i in f(): pass", "f", "i"),
    ("import a.b\na", "", "a"),
    ("import a.b as c, d\nc, d", "", "c d"),
    ("from a import b as c, d", "", "c d"),
    ("def f(x, *a, y=d, **k): return x + a + y + k + g", "d g", "f"),
    ("def f(): return g()\ndef g(): return h\nf()", "h", "f g"),
    ("def f(): return x\nx = 1\nf()", "", "f x"),
    ("def f(): return x\nf()\nx = 1", "x", "f x"),
    ("def f(n): return f(n - 1)", "", "f"),
    ("@lru_cache\ndef f(n): return f(n - 1)", "lru_cache", "f"),
    ("@deco(a)\ndef f() -> R: return b", "deco a R b", "f"),
    ("def f(x: 'A', y: B) -> 'C': ...", "A B C", "f"),
    ("f = lambda x, y=d: x + y + z", "d z", "f"),
    ("f = lambda: x\nx = 1\nf()", "", "f x"),
    ("g(lambda: x)\nx = 1", "g x", "x"),
    ("def f():\n    global n\n    n += 1", "n", "f n"),
    ("def f():\n    global n\n    n = 1\nf()", "", "f n"),
    ("def f():\n    x = 1\n    def g():\n        nonlocal x\n        x += y\n    return g", "y", "f"),
    ("def f():\n    x\n    x = 1", "", "f"),
    ("def f():\n    import m\n    return m", "", "f"),
    ("def f():\n    class A:\n        x = x\n        def g(self): return x, z\n", "x z", "f"),
    ("def f():\n    for i in a:\n        try: ...\n        except E as e: print(e, i)", "a E", "f"),
    ("def f():\n    b = 1\n    def g():\n        global b\n        return [b for _ in a]", "a b", "f"),
    ("[i for i in a if i > b]", "a b", ""),
    ("[j for i in a for j in i]", "a", ""),
    ("{k: v for k, v in d.items() if (w := k)}\nw", "d w", "w"),
    ("[i for i in i]", "i", ""),
    ("sum(x for x in (y for y in z))", "z", ""),
    ("[(lambda: i + j) for i in a]", "a j", ""),
    ("class A(B, metaclass=M):\n    x = y\n    z = x\n    def f(self): return x, A", "B M y x", "A"),
    ("class A:\n    x = x", "x", "A"),
    ("class A:\n    xs = [1]\n    ys = [x for x in xs]\n    zs = [xs for _ in xs]", "xs", "A"),
    ("class A:\n    global q\n    q = 1\nq", "", "A q"),
    ("class A:\n    def __f(self): return __secret", "_A__secret", "A"),
    ("class A:\n    def f(self): return super().f(), __class__", "", "A"),
    ("class A:\n    if c: x = 1\n    y = x", "c x", "A"),
    ("@dataclass\nclass P:\n    x: int\n    y: T = field(default=d)", "dataclass T field d", "P"),
    ("match v:\n    case [a, *b]: a\n    case {'k': c, **d}: c\n    case P(x=e) as f: e\n    case Q.r: pass",
     "v P Q", "a b c d e f"),
    ("match v:\n    case 1: x = 1\n    case _: x = 2\nx", "v", "x"),
    ("match v:\n    case 1: x = 1\nx", "v x", "x"),
    ("match v:\n    case n if n > lim: pass\nn", "v lim n", "n"),
    ("match v:\n    case 1 | 2: pass\n    case other: other", "v", "other"),
    ("f'{x!r:>{w}} {{no}}'", "x w", ""),
    ("await f(x)", "f x", ""),
    ("x = 1\ndel x\nx", "x", "x"),
    ("del x", "x", ""),
    ("del d['k'], o.a", "d o", ""),
    ("assert x, y", "x y", ""),
    ("from __future__ import annotations\ndef f(x: A): ...", "A", "annotations f"),
    ("print(sum)\nsum = 3", "", "sum"),
    # IPython
    ("!echo {a + b[0]} $c $$d '${e}'", "a b c e", ""),
    ("!echo ${HOME}", "HOME", ""),
    ("!awk '{print $1}' f", "", ""),
    ("files = !ls $folder", "folder", "files"),
    ("%time y = f(x)", "f x", "y"),
    ("%timeit -n 10 -r3 f(x)", "f x", ""),
    ("t = %timeit -o f(x)", "f x", "t"),
    ("%prun -l 5 f(x)", "f x", ""),
    ("%%time\ny = f(x)\nz = y", "f x", "y z"),
    ("%%timeit k = a\ny = k + b", "a b", ""),
    ("%%capture out\nprint(x)\ny = 1", "x", "out y"),
    ("%%capture --no-stderr out\n%time y = f(x)", "f x", "out y"),
    ("%%bash --out text\necho $x", "", "text"),
    ("%%html\n<b>x = y</b>", "", ""),
    ("%matplotlib inline\nplt.plot(x)", "plt x", ""),
    ("%cd $folder", "folder", ""),
    ("df?", "df", ""),
    ("df.head??", "df head", ""),
    ("x = %who_ls", "", "x"),
    ("pd.eval('a + b * @c')", "pd a b c", ""),
    ("df.query('a > @limit and b < @other.x')", "df limit other", ""),
    ("eval('a + b')", "a b", ""),
    ("exec('a = b')", "b", "a"),
    ("duckdb.sql('select * from frame join other using (k)')", "duckdb frame other", ""),
    ("def f():\n    y = 1\n    !echo {y} {z}", "z", "f"),
    ("a;b", "a b", ""),
]  # fmt: skip


@pytest.mark.parametrize(("cell", "needed", "assigned"), CELLS, ids=[c[0] for c in CELLS])
def test_a_cell_needs_and_assigns(cell: str, needed: str, assigned: str) -> None:
    found = names(cell)
    assert set(found.reads) - HIDDEN == set(needed.split())
    assert set(found.assigns) == set(assigned.split())


@pytest.mark.parametrize(
    ("cell", "deleted"),
    [
        ("del x, (y, [z])", "x y z"),
        ("x = 1\ndel x", "x"),
        ("del x.a, x[0]", ""),
        ("try: f()\nexcept E as e: pass", "e"),
        ("def f():\n    global g\n    del g\nf()", "g"),
        ("def f():\n    x = 1\n    del x", ""),
        ("if c: del x", "x"),
        ("%xdel x", "x"),
    ],
)
def test_a_cell_deletes(cell: str, deleted: str) -> None:
    assert set(names(cell).deletes) == set(deleted.split())


@pytest.mark.parametrize(
    ("cell", "perhaps"),
    [
        ("if c: x = 1\nprint(x)", "x"),
        ("print(x)", ""),
        ("try: f()\nexcept E as e: pass", "e"),
        ("def unused(): return x", "x"),
        ("def f(): return x\nf()", ""),
        ("!echo $x", "x"),
        ("for i in a:\n    print(i, last)\n    last = i", "last"),
        ("df.query('a > @x')", "x"),
        ("%%unknown\ny = x\nprint(y)", "x"),
    ],
)
def test_a_name_the_cell_may_do_without_is_only_perhaps_needed(cell: str, perhaps: str) -> None:
    assert set(names(cell).maybe) - HIDDEN == set(perhaps.split())


@pytest.mark.parametrize(
    "cell",
    ["eval(code)", "exec(text)", "globals()['x']", "locals()", "vars()", "%run other.py", "%whos"],
)
def test_names_that_cannot_be_told_are_told_as_such(cell: str) -> None:
    found = names(cell)
    assert found.dynamic
    assert len(found.notices) == 1
    assert "--in" in found.notices[0]


def test_vars_of_an_object_is_an_ordinary_call() -> None:
    assert not names("vars(x)\ndir(x)\neval('1')").dynamic


def test_imports_are_found_wherever_they_are() -> None:
    found = names("import a.b\ndef f():\n    from c import d\nimportlib.import_module('e.f')")
    assert {"a.b", "c", "c.d", "e.f"} <= set(found.imports)


def test_a_star_import_is_told() -> None:
    assert names("from numpy import *").star_imports == ("numpy",)


@pytest.mark.parametrize(
    ("cell", "line"),
    [("x = (\n", 1), ("a = 1\nreturn a", 2), ("a\nbreak", 2), ("f(**a, *b)", 1), ("if x:\ny", 2),
     ("nonlocal x", 1), ("def f(a, a): ...", 1)],
)  # fmt: skip
def test_a_syntax_error_names_its_place(cell: str, line: int) -> None:
    with pytest.raises(SyntaxError) as caught:
        analyse(cell, filename="In [7]")
    assert caught.value.lineno == line
    assert caught.value.filename == "In [7]"
    assert caught.value.text


def test_the_shells_own_transform_is_used() -> None:
    assert analyse("£x", lambda cell: cell.replace("£", "")).reads == ("x",)


def test_a_long_cell_is_analysed_in_a_moment() -> None:
    lines = [f"x{i} = f(x{i - 1}, [a for a in data if a > {i}])" for i in range(1, 500)]
    source = "\n".join(lines)
    took = []
    for _ in range(5):
        start = time.process_time()
        analyse(source)
        took.append(time.process_time() - start)
    assert min(took) < 0.3  # 0.03 s on a quiet machine, half of it IPython's own transformation

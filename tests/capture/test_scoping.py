"""Our scoping agrees with Python's own symbol tables on programs that nobody wrote."""

from __future__ import annotations

import ast
import symtable

from hypothesis import given, note, settings
from hypothesis import strategies as st

from jupyter_remote.client.names import analyse
from jupyter_remote.client.scopes import uses_of_function

NAMES = st.sampled_from(["a", "b", "c", "d", "__e"])


def block(statements: list[str]) -> str:
    return "\n".join("    " + line for s in statements for line in s.splitlines()) or "    pass"


def expressions() -> st.SearchStrategy[str]:
    return st.recursive(
        NAMES,
        lambda inner: st.one_of(
            st.builds("({} | {})".format, inner, inner),
            st.builds("(lambda {}: {})".format, NAMES, inner),
            st.builds("(lambda x={}: {})".format, inner, inner),
            st.builds("[{} for {} in {} if {}]".format, inner, NAMES, inner, inner),
            st.builds("f'{{{}}}'".format, NAMES),
            st.builds("({} if {} else {})".format, inner, inner, inner),
        ),
        max_leaves=3,
    )


def simple() -> st.SearchStrategy[str]:
    e = expressions()
    return st.one_of(
        st.builds("{} = {}".format, NAMES, e),
        st.builds("{} |= {}".format, NAMES, e),
        st.builds("{}".format, e),
        st.builds("import m as {}".format, NAMES),
        st.builds("del {}".format, NAMES),
        st.builds("{}, *{} = {}".format, NAMES, NAMES, e),
    )


def statements() -> st.SearchStrategy[str]:
    e = expressions()

    def compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        body = st.lists(inner, min_size=1, max_size=2).map(block)
        return st.one_of(
            st.builds("for {} in {}:\n{}".format, NAMES, e, body),
            st.builds("if {}:\n{}\nelse:\n{}".format, e, body, body),
            st.builds("with {} as {}:\n{}".format, e, NAMES, body),
            st.builds("try:\n{}\nexcept {} as {}:\n{}".format, body, e, NAMES, body),
            st.builds("def {}({}, k={}):\n{}".format, NAMES, NAMES, e, body),
            st.builds("class {}({}):\n{}".format, NAMES, e, body),
            st.builds("def f():\n    global {}\n{}".format, NAMES, body),
        )

    return st.recursive(simple(), compound, max_leaves=6)


PROGRAMS = st.lists(statements(), min_size=1, max_size=3).map("\n".join)


def globals_by_symtable(table: symtable.SymbolTable) -> tuple[set[str], set[str]]:
    """Globals that a function and all inside it may read and store."""
    loads: set[str] = set()
    stores: set[str] = set()
    for symbol in table.get_symbols():
        own_class_name = table.get_type() == "class" and symbol.is_local()
        if symbol.is_global():
            loads |= {symbol.get_name()} if symbol.is_referenced() else set()
            stored = symbol.is_assigned() or symbol.is_imported()
            stores |= {symbol.get_name()} if stored else set()
        elif own_class_name and symbol.is_referenced():
            loads.add(symbol.get_name())  # LOAD_NAME: its own or the global
    for child in table.get_children():
        inner_loads, inner_stores = globals_by_symtable(child)
        loads |= inner_loads
        stores |= inner_stores
    return loads, stores


def compiles(program: str) -> bool:
    try:
        compile(program, "p", "exec")
    except SyntaxError:
        return False
    return True


@given(PROGRAMS)
@settings(max_examples=100, deadline=None)
def test_a_functions_globals_are_those_of_its_symbol_table(program: str) -> None:
    source = "def outer(a):\n" + block([program])
    if not compiles(source):
        return
    (node,) = ast.parse(source).body
    assert isinstance(node, ast.FunctionDef)
    uses = uses_of_function(node)
    table = symtable.symtable(source, "p", "exec").get_children()[0]
    loads, stores = globals_by_symtable(table)
    note(source)
    # symtable calls a deleted or augmented name assigned, and not always referenced
    certain = {name for name, perhaps in uses.reads.items() if not perhaps}
    assert loads <= set(uses.reads)
    assert certain <= loads | stores
    assert uses.stores == stores


class Thing:
    """Stands for anything the program uses.

    Every program ends soon: ``|`` makes no list longer, as ``+`` would, which a loop over that list
    then never leaves, and what is printed of a thing is one letter.
    """

    def __or__(self, other: object) -> Thing:
        return self

    __ror__ = __ior__ = __or__

    def __repr__(self) -> str:
        return "t"

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter([Thing(), Thing()])

    def __enter__(self) -> Thing:
        return self

    def __exit__(self, *_: object) -> None: ...

    def __mro_entries__(self, bases: object) -> tuple[type, ...]:
        return ()


@given(PROGRAMS)
@settings(max_examples=100, deadline=None)
def test_with_the_names_it_needs_a_program_ends_as_with_all_names(program: str) -> None:
    if not compiles(program):
        return
    needed = set(analyse(program).reads)
    every = {name: Thing() for name in ["a", "b", "c", "d", "__e", "_a__e", "_b__e"]}
    assert ended(program, every) == ended(program, {n: v for n, v in every.items() if n in needed})


def ended(program: str, namespace: dict[str, object]) -> tuple[str, str]:
    try:
        exec(compile(program, "p", "exec"), {"__name__": "p", **namespace})
    except BaseException as error:
        return type(error).__name__, str(error)
    return "", ""

"""Who may import whom (docs/architecture.md): only rows above, siblings never, owners only."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent / "jupyter_remote"
ROWS = [
    {"composite"},
    {"errors"},
    {"clock", "amounts", "imports", "distributions"},
    {"model"},
    {"settings"},
    {"wire"},
    {"connection", "processes"},
    {"mapping", "reach", "loopback", "straight", "sse", "sizes", "calls", "multiplex", "outputs"},
    {"shared", "remotely", "guesses"},
    {"pickling"},
    {"values"},
    {"contents"},
    {"ambient"},
    {"money"},
    {"cards"},
    {"http"},
    {"store", "blobs", "providers"},
    {"client"},
    {"worker"},
    {"scheduler"},
    {"server"},
    {"notebook", "server_extension"},
    {"cli"},
    {"__main__"},
]
RANK = {name: i for i, row in enumerate(ROWS) for name in row}
BANS = {
    *(
        (top, low)
        for top in ("client", "notebook", "server_extension")
        for low in ("store", "providers", "scheduler")
    ),
    *((top, "server") for top in ("client", "notebook", "server_extension", "worker")),
    *(("worker", low) for low in ("store", "providers", "client")),
    ("server", "client"),
    ("server", "worker"),
    ("scheduler", "worker"),
    ("scheduler", "client"),
    ("notebook", "worker"),
    ("server_extension", "worker"),
}
OWNERS = {
    "httpx": ("http",),
    "cloudpickle": ("values",),
    "sqlalchemy": ("store",),
    "alembic": ("store",),
    "boto3": ("providers", "blobs"),
    "starlette": ("server",),
    "uvicorn": ("server",),
    "anywidget": ("notebook",),
    "ipykernel": ("worker", "notebook"),
    "nbclient": ("worker",),
    "jupyter_server": ("server_extension",),
    "websockets": ("worker", "client"),
}
CONCRETE = ("store.sqlite", "blobs.disk", "blobs.s3", "providers.local", "providers.ec2")


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def violations(root: Path) -> Iterator[str]:
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        here = ".".join(parts)
        if here == "__init__":
            continue
        for line, name in imports_of(path):
            yield from _judge(here, parts[0], line, name)


def _judge(here: str, top: str, line: int, name: str) -> Iterator[str]:
    package, _, rest = name.partition(".")
    if package != "jupyter_remote":
        if package in OWNERS and top not in OWNERS[package]:
            yield f"{here}:{line} imports {name}; only {' and '.join(OWNERS[package])} may"
        return
    target = rest.split(".")[0]
    if not target or target == top or target not in RANK:
        return
    if RANK[target] >= RANK[top]:
        yield f"{here}:{line} imports {target}, which is not below it"
    if (top, target) in BANS:
        yield f"{here}:{line}: {top} never imports {target}"
    seams_only = top == "scheduler" and target in ("store", "providers")
    if seams_only and rest != target and not rest.startswith(f"{target}.base"):
        yield f"{here}:{line}: scheduler sees {target}.base only"
    if rest.startswith(CONCRETE) and here not in ("server.app", "cli") and top != target:
        yield f"{here}:{line} names {rest}; only server.app may"


def test_every_import_goes_down_and_to_its_owner():
    assert sorted(set(violations(ROOT))) == []


def test_every_module_has_a_row():
    tops = {p.relative_to(ROOT).with_suffix("").parts[0] for p in ROOT.rglob("*.py")}
    assert tops - {"__init__"} <= set(RANK)


def test_an_upward_import_is_found(tmp_path):
    (tmp_path / "client").mkdir()
    (tmp_path / "client" / "x.py").write_text("from jupyter_remote.store import base\nimport httpx")
    assert len(list(violations(tmp_path))) == 3

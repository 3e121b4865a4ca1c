"""The extension in a plain IPython shell: loading, completion, text instead of cards."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

from jupyter_remote.client.failures import exception_of
from jupyter_remote.model import MachineType
from jupyter_remote.notebook import context as contexts
from jupyter_remote.notebook.commands import NAMES, commands
from jupyter_remote.wire import RemoteFailure

LOADED = """
import sys, time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
import jupyter_remote
began = time.process_time()
shell.run_line_magic("load_ext", "jupyter_remote")
took = time.process_time() - began
heavy = {"anywidget", "ipywidgets", "httpx", "sqlalchemy", "numpy", "cloudpickle", "uvicorn"}
print(round(took, 3), sorted(heavy & set(sys.modules)))
"""


class NoBackend:
    """Answers what completion asks."""

    def machines(self, gpu=None):
        return [
            MachineType(id="local", cpus=2, memory_bytes=1),
            MachineType(id="g5.xlarge", cpus=4, memory_bytes=1, gpu="A10G", gpu_count=1),
        ]

    def jobs(self, status=None, limit=50):
        return [SimpleNamespace(id="0123abcd-0000-4000-8000-000000000000")]


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    shell = InteractiveShell()
    monkeypatch.setattr(contexts, "_current", contexts.Context(shell))
    contexts.current()._client = NoBackend()
    shell.run_line_magic("load_ext", "jupyter_remote")
    yield shell
    shell.run_line_magic("unload_ext", "jupyter_remote")
    shell.history_manager.end_session()


def test_loading_is_quick_and_imports_nothing_heavy():
    output = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    took, heavy = output.strip().split(" ", 1)
    assert float(took) < 0.3
    assert heavy == "[]"


@pytest.fixture
def work(shell, tmp_path, monkeypatch) -> None:
    """A folder with files, and a notebook with names."""
    for name in ("data.csv", "deep/inner.csv", "train.ipynb", ".hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    shell.user_ns.update(alpha=1, alphabet=[2], machine_name="x")


def completed(shell: InteractiveShell, text: str) -> list[tuple[str, str]]:
    """Each match: the text that it replaces, and what it puts there."""
    with provisionalcompleter():
        found = list(shell.Completer.completions(text, len(text)))
    return [(text[m.start : m.end], m.text) for m in found]


@pytest.mark.parametrize(
    ("text", "replaced", "expected"),
    [
        ("%remote ", "", NAMES),
        ("%remote ca", "ca", ["cancel", "cache"]),
        ("%remote cache ", "", ["on", "off", "stats", "clear"]),
        ("%remote budget da", "da", ["day"]),
        ("%remote machines --sort ", "", ["price", "gpu", "memory", "name"]),
        ("x = %remote ru", "ru", ["run"]),
        ("%remote attach ", "", ["last", "0123abcd"]),
        ("%remote attach 01", "01", ["0123abcd"]),
        ("%remote attach --", "--", ["--new"]),
        ("%remote jobs --st", "--st", ["--status"]),
        ("%remote jobs --status can", "can", ["cancelling", "cancelled"]),
        ("%remote jobs --status=can", "can", ["cancelling", "cancelled"]),
        ("%remote use -m g", "g", ["g5.xlarge"]),
        ("%remote use --machine=g5", "g5", ["g5.xlarge"]),
        ("%remote use --gpu ", "", ["A10G"]),
        ("%remote run alp", "alp", ["alpha", "alphabet"]),
        ("%remote run -m local alp", "alp", ["alpha", "alphabet"]),
        ("%remote run --timeout=5m max(alphab", "alphab", ["alphabet"]),
        ("y = %remote run alphabet.ind", "ind", ["index"]),
        ("%remote run -m ", "", ["local", "g5.xlarge"]),
        ("%remote notebook tr", "tr", ["train.ipynb"]),
        ("%%remote_run --ma", "--ma", ["--machine", "--max-cost", "--max-attempts"]),
        ("%%remote_run -m ", "", ["local", "g5.xlarge"]),
        ("%%remote_run --visibility p", "p", ["private", "public"]),
        ("%%remote_run --files ", "", ["data.csv", "deep/", "train.ipynb"]),
        ("%%remote_run --files data.csv deep/", "deep/", ["deep/inner.csv"]),
        ("%%remote_run --files .h", ".h", [".hidden"]),
        ("%%remote_run -i alpha,alphab", "alphab", ["alphabet"]),
        ("%%remote_run --com", "--com", ["--compare"]),
        ("%%remote_run --compare local,g5", "g5", ["g5.xlarge"]),
        ("%remote rerun ", "", ["last", "0123abcd", "deep/", "train.ipynb"]),
        ("%%remote_run --ses", "--ses", ["--session"]),
        ("%remote attach zz", "zz", ["zz"]),
    ],
)
def test_completion_offers_what_may_come_next_and_nothing_else(
    shell, work, text, replaced, expected
):
    assert completed(shell, text) == [(replaced, word) for word in expected]


def test_completion_of_code_is_as_it_is_everywhere(shell, work):
    assert ("alp", "alphabet") in completed(shell, "%%remote_run -m local\nprint(alp")
    assert ("alp", "alphabet") in completed(shell, "alp")


def test_every_subcommand_explains_itself(shell, capsys):
    assert set(commands()) == set(NAMES)
    for name in NAMES:
        shell.run_line_magic("remote", f"{name} -h")
        assert f"%remote {name}" in capsys.readouterr().out


def test_an_unknown_subcommand_names_the_nearest(shell, capsys):
    from jupyter_remote.errors import UsageError

    with pytest.raises(UsageError, match="did you mean machines"):
        shell.run_line_magic("remote", "machnes")


def test_loading_twice_does_no_harm(shell):
    shell.run_line_magic("reload_ext", "jupyter_remote")
    shell.run_line_magic("load_ext", "jupyter_remote")
    assert "remote" in shell.magics_manager.magics["line"]


def test_unloading_takes_the_magics_away():
    shell = InteractiveShell()
    shell.run_line_magic("load_ext", "jupyter_remote")
    shell.run_line_magic("unload_ext", "jupyter_remote")
    assert "remote" not in shell.magics_manager.magics["line"]
    assert "remote_run" not in shell.magics_manager.magics["cell"]
    shell.history_manager.end_session()


SCRIPT = """
import jupyter_remote as jr

@jr.remote
def f(x):
    print("over there")
    return x + 1

if __name__ == "__main__":
    print(f(2))
    print(f.submit(3).result(60))
    try:
        f("a")
    except TypeError as error:
        print("caught", type(error).__mro__[1].__name__)
"""


def test_a_plain_script_shows_what_its_functions_print(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert done.stdout.splitlines()[:3] == ["over there", "3", "4"]
    assert "caught" in done.stdout, done.stderr


TERMINAL = """
from IPython.terminal.interactiveshell import TerminalInteractiveShell
shell = TerminalInteractiveShell.instance()
for cell in (
    "%load_ext jupyter_remote",
    "%%remote_run -d counting\\nprint('there')\\nx = 3\\nx + 1",
    "%%remote_run --bg -n job\\ny = x + 1",
    "_ = job.result(60)",
    "print('y is', y)",
):
    shell.run_cell(cell, store_history=True)
"""


def test_a_terminal_gets_lines_instead_of_cards(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", TERMINAL], capture_output=True, text=True, timeout=90, cwd=tmp_path
    )
    assert "there\n" in done.stdout
    assert "4\n" in done.stdout
    assert "y is 4" in done.stdout
    assert "[completed] counting · local" in done.stderr
    assert "application/" not in done.stdout


def test_a_remote_syntax_error_is_shown_as_its_traceback_alone(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
):
    remote = RemoteFailure(
        ename="SyntaxError",
        evalue="invalid syntax (<string>, line 1)",
        qualname="SyntaxError",
        mro=[("builtins", "SyntaxError"), ("builtins", "Exception")],
        args=["invalid syntax", "('<string>', 1, 7, 'def f(:')"],
        traceback=["as it was there"],
    )
    shell.user_ns["error"] = exception_of(remote)
    shell.run_cell("try: raise error\nexcept SyntaxError: print('caught')\nraise error")
    assert capsys.readouterr().out == "caught\nas it was there\n"

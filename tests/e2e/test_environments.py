"""Jobs on a worker that has none of the notebook's packages."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest

import jupyter_remote as jr
from jupyter_remote import errors
from jupyter_remote.client import locking
from tests.e2e.bare import Elsewhere, elsewhere, pip_settings
from tests.notebook.kernels import Kernel, printed, raised, started
from tests.packages import index_of, install, wheel


@pytest.fixture(scope="module")
def module_patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, module_patch: pytest.MonkeyPatch) -> Path:
    """Packages that the test makes are all that there are."""
    folder = tmp_path_factory.mktemp("packages") / "index"
    index_of(folder, module_patch)
    return folder


@pytest.fixture(scope="module")
def bare(index: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    with elsewhere(tmp_path_factory.mktemp("bare")) as place:
        place.start()
        yield place


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages that are installed here."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in [n for n in sys.modules if n.startswith("jrt_")]:
        del sys.modules[name]


@pytest.fixture
def client(bare: Elsewhere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[jr.Client]:
    monkeypatch.chdir(tmp_path)
    client = jr.Client(bare.url, bare.token, namespace={})
    yield client.with_options(machine="bare")
    client.close()


def calling(code: str, body: str) -> object:
    """A function of a notebook that has run ``code``."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    exec(f"{code}\ndef f():\n    {body}\n", namespace)
    return namespace["f"]


def test_a_worker_has_the_packages_that_the_code_imports_as_they_are_here(
    index: Path, site: Path, client: jr.Client
):
    base = wheel(index, "jrt-base", "2.0")
    wheel(index, "jrt-base", "3.0")  # which this computer does not have
    one = wheel(index, "jrt-one", "1.1", requires=["jrt-base"])
    wheel(index, "jrt-one", "9.0")
    for path in (base, one):
        install(path, site)
    f = calling("import jrt_one", "import jrt_base; return jrt_one.version, jrt_base.version")
    job = client.submit(f)
    assert job.result() == ("1.1", "2.0")
    ran_in = job.receipt["environment"]
    assert ran_in["packages"]["jrt-one"] == "1.1"
    assert ran_in["packages"]["jrt-base"] == "2.0"
    assert len(ran_in["lock"]) == 64


def test_code_that_imports_nothing_that_is_not_there_needs_no_environment(
    bare: Elsewhere, client: jr.Client
):
    before = bare.built()
    f = calling("import json, msgspec", "return msgspec.json.encode(json.loads('[1]'))")
    job = client.submit(f)
    assert job.result() == b"[1]"
    assert job.receipt["environment"].get("lock", "") == ""
    assert bare.built() == before


def test_with_none_a_job_has_what_the_worker_has(index: Path, site: Path, client: jr.Client):
    install(wheel(index, "jrt-one", "1.1"), site)
    f = calling("import jrt_one", "return jrt_one.version")
    with pytest.raises((ModuleNotFoundError, errors.JupyterRemoteError), match="jrt_one"):
        client.with_options(environment="none").submit(f).result()


def test_a_local_module_travels_and_what_it_imports_is_installed(
    index: Path, site: Path, client: jr.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    install(wheel(index, "jrt-deep", "4.0"), site)
    (tmp_path / "jrt_helpers.py").write_text("import jrt_deep\nanswer = jrt_deep.version\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    f = calling("import jrt_helpers", "return jrt_helpers.answer")
    assert client.submit(f).result() == "4.0"


def test_a_package_that_was_installed_from_a_folder_travels_with_what_it_asks_for(
    index: Path, site: Path, client: jr.Client, tmp_path: Path
):
    install(wheel(index, "jrt-dep", "5.0"), site)
    mine = wheel(tmp_path / "own", "jrt-mine", "0.1", "import jrt_dep", requires=["jrt-dep>=1"])
    install(mine, site, url="file:///somewhere/mine")
    f = calling("import jrt_mine", "return jrt_mine.version, jrt_mine.jrt_dep.version")
    job = client.submit(f)
    assert job.result() == ("0.1", "5.0")
    assert job.receipt["environment"]["packages"]["jrt-mine"] == "0.1"


def test_a_version_that_no_index_has_travels(
    index: Path, site: Path, client: jr.Client, tmp_path: Path
):
    wheel(index, "jrt-patched", "1.0")
    install(wheel(tmp_path / "own", "jrt-patched", "1.0.dev7"), site)
    install(wheel(tmp_path / "own", "jrt-private", "2.0+mine"), site)
    f = calling(
        "import jrt_patched, jrt_private", "return jrt_patched.version, jrt_private.version"
    )
    assert client.submit(f).result() == ("1.0.dev7", "2.0+mine")


def test_packages_of_a_file_are_installed_in_place_of_those_here(
    index: Path, site: Path, client: jr.Client, tmp_path: Path
):
    install(wheel(index, "jrt-other", "1.1"), site)
    wheel(index, "jrt-other", "7.0")
    (tmp_path / "requirements.txt").write_text("# mine\njrt-other >= 6  # the new one\n")
    f = calling("import jrt_other", "return jrt_other.version")
    job = client.with_options(environment="requirements.txt").submit(f)
    assert job.result() == "7.0"


def test_a_package_of_a_file_that_does_not_exist_is_told_before_anything_is_sent(
    client: jr.Client, tmp_path: Path
):
    (tmp_path / "requirements.txt").write_text("jrt-nowhere==1.0\n")
    before = len(client.jobs())
    with pytest.raises(errors.EnvironmentUnavailable, match="jrt-nowhere") as caught:
        client.with_options(environment="requirements.txt").submit(abs, -1)
    assert "--env" in caught.value.hint
    assert len(client.jobs()) == before


def test_a_plan_says_what_would_be_installed(index: Path, site: Path, client: jr.Client):
    install(wheel(index, "jrt-planned", "1.4"), site)
    plan = client.plan(calling("import jrt_planned", "return jrt_planned.version"))
    text = repr(plan)
    assert "jrt-planned 1.4: 1 package for Python" in text
    assert "by what the code imports" in text
    assert "within 30 min" in text
    assert "none there" not in text


def test_a_plan_of_what_cannot_be_locked_says_why(client: jr.Client, tmp_path: Path):
    (tmp_path / "requirements.txt").write_text("jrt-nowhere==1.0\n")
    plan = client.with_options(environment="requirements.txt").plan(abs, -1)
    assert "No index has jrt-nowhere" in repr(plan)


def test_a_lock_that_was_made_once_is_not_asked_for_again(
    index: Path, site: Path, client: jr.Client, monkeypatch: pytest.MonkeyPatch
):
    install(wheel(index, "jrt-known", "1.0"), site)
    f = calling("import jrt_known", "return jrt_known.version")
    assert client.submit(f).result() == "1.0"
    monkeypatch.setattr(locking, "_compiled", None)
    assert client.submit(f).result() == "1.0"


def test_a_session_has_the_packages_of_its_notebook(index: Path, site: Path, bare: Elsewhere):
    install(wheel(index, "jrt-held", "1.0"), site)
    namespace = {"jrt_held": importlib.import_module("jrt_held"), "In": ["", "import jrt_typed"]}
    install(wheel(index, "jrt-typed", "2.0"), site)
    with jr.Client(bare.url, bare.token, namespace=namespace) as client:
        session = client.session("packages", machine="bare")
        f = calling("", "import jrt_held, jrt_typed; return jrt_held.version, jrt_typed.version")
        assert session.apply_sync(f) == ("1.0", "2.0")
        session.job.cancel()


def test_calls_of_a_map_share_an_environment(index: Path, site: Path, client: jr.Client):
    install(wheel(index, "jrt-map", "1.0"), site)
    namespace: dict[str, object] = {"__name__": "__main__"}
    exec("import jrt_map\ndef g(n):\n    return n, jrt_map.version\n", namespace)
    batch = client.map(namespace["g"], range(3))
    assert batch.result() == [(n, "1.0") for n in range(3)]


def test_an_environment_that_is_there_costs_little(
    index: Path, site: Path, bare: Elsewhere, client: jr.Client
):
    install(wheel(index, "jrt-quick", "1.0"), site)
    f = calling("import jrt_quick", "return jrt_quick.version")
    client.submit(f).result()
    plain = client.with_options(environment="none")
    nothing = calling("", "return 1")
    plain.submit(nothing).result()

    def start_s(job: jr.Job) -> float:
        job.result()
        return job.view.started_at - job.view.submitted_at

    pairs = [(start_s(client.submit(f)), start_s(plain.submit(nothing))) for _ in range(5)]
    own, without = map(min, zip(*pairs, strict=True))  # whatever else this computer did meanwhile
    assert own - without <= 0.3


def test_a_file_names_packages_for_this_computer_too(
    index: Path, fresh_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    wheel(index, "jrt-here", "3.0")
    (tmp_path / "requirements.txt").write_text("jrt-here\n")
    monkeypatch.chdir(tmp_path)
    f = calling("", "import jrt_here, numpy; return jrt_here.version, numpy.__version__")
    with jr.Client(namespace={}) as client:
        job = client.with_options(environment="requirements.txt").submit(f)
        assert job.result() == ("3.0", numpy.__version__)  # what it does not name is as it is here


# --- with packages of everybody ---------------------------------------------------------------
NOTEBOOK = """
import helpers, pandas as pd
from sklearn.linear_model import LinearRegression
frame = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0]})
"""
CELL = """%%remote_run -m bare
import sys
frame["y"] = helpers.line(frame["x"])
model = LinearRegression().fit(frame[["x"]], frame["y"])
where = pd.__file__, sys.prefix
print(f"slope {model.coef_[0]:.2f}")
"""
SEEN = """
print(pd.__file__ != where[0], where[1] != __import__("sys").prefix, list(frame["y"]))
"""


@pytest.fixture
def notebook(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Kernel, Elsewhere]]:
    folder = tmp_path_factory.mktemp("data")
    for name in ("UV_NO_INDEX", "UV_FIND_LINKS", "UV_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in pip_settings().items():
        monkeypatch.setenv(name, value)
    (folder / "helpers.py").write_text("def line(x):\n    return 3 * x + 1\n")
    with elsewhere(folder) as place:
        place.start()
        monkeypatch.setenv("JUPYTER_REMOTE_URL", place.url)
        monkeypatch.setenv("JUPYTER_REMOTE_TOKEN", place.token)
        manager, client = started(cwd=str(folder))
        kernel = Kernel(manager, client)
        kernel.run("%load_ext jupyter_remote")
        yield kernel, place
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


def test_a_notebook_with_pandas_and_scikit_learn_runs_where_none_is(
    notebook: tuple[Kernel, Elsewhere],
):
    kernel, place = notebook
    kernel.run(NOTEBOOK)
    without = raised(kernel.run(CELL.replace("-m bare", "-m bare --env none")))
    assert "pandas" in str(without["traceback"]) + without["evalue"]
    assert "slope 3.00" in printed(kernel.run(CELL))
    assert "True True [1.0, 4.0, 7.0, 10.0]" in printed(kernel.run(SEEN))
    [digest] = place.built()
    assert "slope 3.00" in printed(kernel.run(CELL))
    assert place.built() == [digest]
    place.stop()  # another agent finds it as it is
    place.start()
    assert "slope 3.00" in printed(kernel.run(CELL))
    assert place.built() == [digest]

"""Locks, from packages that the test makes; and which packages code needs."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from jupyter_remote import errors
from jupyter_remote.client import locking, packages, provision
from jupyter_remote.client.locking import Absent, Target, lock, target_here, target_of
from jupyter_remote.client.places import Place, Places
from jupyter_remote.distributions import stamp
from jupyter_remote.settings import Settings
from jupyter_remote.wire import EnvironmentSpec, Need, WorkerEnvironment
from tests.packages import PYTHON, index_of, install, wheel


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "index"
    index_of(folder, monkeypatch)
    return folder


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def there(**packages: str) -> Place:
    named = {name.replace("_", "-"): version for name, version in packages.items()}
    return Place(
        there=WorkerEnvironment(
            python=f"{PYTHON}.1", platform="Linux", machine="x86_64", packages=named
        )
    )


def made(used: list[str], place: Place, home: Path) -> EnvironmentSpec | None:
    return provision.provided("auto", lambda: place, used, [], Settings(home=str(home))).spec


# --- locks -----------------------------------------------------------------------------------
def test_a_lock_has_exact_versions_with_hashes_and_what_they_ask_for(
    index: Path, tmp_path: Path
) -> None:
    base, one = wheel(index, "jrt-base", "2.0"), wheel(index, "jrt-one", "1", requires=["jrt-base"])
    found = lock(["jrt-one"], {}, target_here(), tmp_path / "locks")
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (base, one)]
    assert found.text.splitlines() == [
        f"jrt-base==2.0 --hash=sha256:{hashes[0]}",
        f"jrt-one==1 --hash=sha256:{hashes[1]}",
    ]
    assert found.packages == {"jrt-base": "2.0", "jrt-one": "1"}


def test_what_packages_ask_for_comes_in_the_version_that_is_here(
    index: Path, tmp_path: Path
) -> None:
    for version in ("1.0", "2.0"):
        wheel(index, "jrt-base", version)
    wheel(index, "jrt-one", "1.0", requires=["jrt-base"])
    found = lock(["jrt-one"], {"jrt-base": "1.0", "jrt-x": "5"}, target_here(), tmp_path / "locks")
    assert found.packages == {"jrt-base": "1.0", "jrt-one": "1.0"}


def test_a_known_lock_is_read_again_and_another_python_is_another_question(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(index, "jrt-one", "1.0")
    asked: list[Target] = []
    compiled = locking._compiled

    def counted(requirements: list[str], bound: list[str], target: Target, wheels: list) -> str:
        asked.append(target)
        return compiled(requirements, bound, target, wheels)

    monkeypatch.setattr(locking, "_compiled", counted)
    first = [lock(["jrt-one"], {}, target_here(), tmp_path / "locks") for _ in range(2)]
    assert first[0] == first[1]
    other = Target("3.12", target_here().platform)
    lock(["jrt-one"], {}, other, tmp_path / "locks")
    assert asked == [target_here(), other]


def test_a_kept_lock_that_is_damaged_is_made_anew(index: Path, tmp_path: Path) -> None:
    wheel(index, "jrt-one", "1.0")
    found = lock(["jrt-one"], {}, target_here(), tmp_path / "locks")
    [file] = (tmp_path / "locks").iterdir()
    file.write_text("{")
    assert lock(["jrt-one"], {}, target_here(), tmp_path / "locks") == found


def test_a_package_or_a_version_that_no_index_has_is_named(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    wheel(index, "jrt-one", "1.0")
    for line, name in (("jrt-none==1", "jrt-none"), ("jrt-one==9", "jrt-one")):
        with pytest.raises(Absent, match=name) as caught:
            lock([line], {}, target_here(), tmp_path / "locks")
        assert caught.value.names == [name]
        assert "\x1b" not in str(caught.value)
        assert "--env" in caught.value.hint


def test_requirements_that_contradict_each_other_are_told_in_uvs_words(
    index: Path, tmp_path: Path
) -> None:
    wheel(index, "jrt-base", "1.0")
    wheel(index, "jrt-one", "1.0", requires=["jrt-base<1"])
    with pytest.raises(errors.EnvironmentUnavailable, match="jrt-base<1") as caught:
        lock(["jrt-one", "jrt-base>=1"], {}, target_here(), tmp_path / "locks")
    assert caught.value.hint


def test_an_index_that_cannot_be_reached_is_told_with_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(errors.EnvironmentUnavailable, match="cannot be reached") as caught:
        lock(["jrt-one==1"], {}, target_here(), tmp_path / "locks")
    assert "UV_DEFAULT_INDEX" in caught.value.hint
    assert not (tmp_path / "locks").exists()


def test_a_lock_is_for_the_python_and_the_platform_of_the_worker() -> None:
    linux = WorkerEnvironment(python="3.12.4", platform="Linux", machine="aarch64")
    assert target_of(linux) == Target("3.12", "aarch64-manylinux_2_28")
    mac = WorkerEnvironment(python="3.11.1", platform="Darwin", machine="arm64")
    assert target_of(mac) == Target("3.11", "aarch64-apple-darwin")
    assert target_of(None).python == PYTHON


# --- what is needed --------------------------------------------------------------------------
def test_modules_are_of_the_distributions_that_have_them(index: Path, site: Path) -> None:
    install(wheel(index, "jrt-some-name", "1.0"), site)
    used = ["jrt_some_name.sub", "os.path", "jupyter_remote.client", "jrt_local", "jrt_nowhere", ""]
    assert packages.imported(used, ["jrt_local"]) == ["jrt-some-name"]
    assert packages.imported(["sklearn.linear_model", "PIL"]) in (
        ["scikit-learn"],
        ["scikit-learn", "pillow"],
    )


def test_what_is_installed_while_the_notebook_runs_is_seen(index: Path, site: Path) -> None:
    assert packages.imported(["jrt_late"]) == []
    install(wheel(index, "jrt-late", "1.0"), site)
    assert packages.imported(["jrt_late"]) == ["jrt-late"]


def test_of_a_namespace_that_several_share_only_those_in_use_are_needed(site: Path) -> None:
    for part in ("a", "b"):
        (site / "jrt_shared" / part).mkdir(parents=True)
        (site / "jrt_shared" / part / "__init__.py").write_text("")
        info = site / f"jrt_{part}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: jrt-{part}\nVersion: 1.0\n")
        (info / "RECORD").write_text(f"jrt_shared/{part}/__init__.py,,\n")
    assert packages.imported(["jrt_shared.b"]) == ["jrt-b"]
    assert packages.imported(["jrt_shared"]) == ["jrt-a", "jrt-b"]


def test_nothing_is_needed_where_all_is_there_in_these_versions(
    index: Path, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(wheel(index, "jrt-one", "1.0"), site)
    monkeypatch.setattr(locking, "_compiled", None)  # nothing may be asked
    used = ["jrt_one", "json"]
    assert made(used, there(jrt_one="1.0"), tmp_path) is None
    assert made(used, Place(same_python=True), tmp_path) is None
    assert made(["json"], Place(), tmp_path) is None


def test_what_every_worker_needs_itself_is_not_replaced(tmp_path: Path) -> None:
    used = ["IPython.display", "msgspec", "cloudpickle"]
    assert made(used, there(ipython="1.0", msgspec="0.1", cloudpickle="1.0"), tmp_path) is None
    assert made(used, Place(), tmp_path) is None


def test_another_version_over_there_is_replaced(index: Path, site: Path, tmp_path: Path) -> None:
    install(wheel(index, "jrt-one", "1.0"), site)
    spec = made(["jrt_one"], there(jrt_one="0.9"), tmp_path)
    assert spec is not None
    assert spec.packages == {"jrt-one": "1.0"}
    assert spec.python == PYTHON


def test_an_editable_package_travels_as_files_and_is_in_no_lock(
    index: Path, site: Path, tmp_path: Path
) -> None:
    install(wheel(index, "jrt-edit", "1.0"), site)
    info = site / "jrt_edit-1.0.dist-info" / "direct_url.json"
    info.write_text('{"url": "file:///x", "dir_info": {"editable": true}}')
    assert made(["jrt_edit"], there(), tmp_path) is None


# --- wheels of what is installed -------------------------------------------------------------
def test_an_installed_package_is_made_a_wheel_again(index: Path, site: Path) -> None:
    path = wheel(index, "jrt-one", "1.0", "x = 1")
    install(path, site, url="file:///x")
    (site / "__pycache__").mkdir()
    (site / "__pycache__" / "jrt_one.cpython-311.pyc").write_bytes(b"x")
    made = packages.wheel_of("jrt-one", "1.0", stamp())
    assert made.ref.path == path.name
    target = index.parent / made.ref.path
    target.write_bytes(made.content)
    with zipfile.ZipFile(target) as again, zipfile.ZipFile(path) as first:
        assert sorted(again.namelist()) == sorted(first.namelist())
        assert again.read("jrt_one.py") == first.read("jrt_one.py")
        assert again.testzip() is None
    packages.wheel_of.cache_clear()
    assert bytes(packages.wheel_of("jrt-one", "1.0", stamp()).content) == bytes(made.content)


def test_a_package_that_is_too_large_to_travel_is_told(
    index: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "WHEEL_BYTES", 1000)
    install(wheel(index, "jrt-large", "1.0", extra_bytes=2000), site)
    with pytest.raises(errors.EnvironmentUnavailable, match=r"jrt-large 1\.0 is in no index"):
        packages.wheel_of("jrt-large", "1.0", stamp())


def test_a_package_of_which_nobody_knows_the_files_is_told(site: Path) -> None:
    info = site / "jrt_odd-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: jrt-odd\nVersion: 1.0\n")
    with pytest.raises(errors.EnvironmentUnavailable, match="which files"):
        packages.wheel_of("jrt-odd", "1.0", stamp())


def test_no_place_is_asked_for_on_the_embedded_backend() -> None:
    class Link:
        embedded = True
        asked = 0

        def call(self, *args: object, **kwargs: object) -> None:
            self.asked += 1
            raise errors.UnknownMachine("no")

    link, places = Link(), Places()
    for need in (Need(), Need(machine="local")):
        assert places.of(link, need) == Place(same_python=True)  # type: ignore[arg-type]
    assert link.asked == 0
    with pytest.raises(errors.UnknownMachine):
        places.of(link, Need(machine="g5.xlarge"))  # type: ignore[arg-type]

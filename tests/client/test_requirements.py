"""Files that name packages: what of them is taken, and what is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyter_remote.client.requirements import read
from jupyter_remote.errors import UsageError


def refused(folder: Path, text: str, name: str = "requirements.txt") -> UsageError:
    (folder / name).write_text(text)
    with pytest.raises(UsageError) as caught:
        read(name, folder)
    assert caught.value.hint
    return caught.value


def test_requirements_are_read_without_comments(tmp_path: Path) -> None:
    text = """\
# what we need
pandas==2.2.3   # the one that works

scikit-learn >= 1.5, \\
    < 2
torch[opt] ; python_version < "4"
"""
    (tmp_path / "requirements.txt").write_text(text)
    found = read("requirements.txt", tmp_path)
    assert found.lines == [
        "pandas==2.2.3",
        "scikit-learn<2,>=1.5",
        'torch[opt]; python_version < "4"',
    ]
    assert found.notices == []


@pytest.mark.parametrize(
    ("line", "option", "hint"),
    [
        ("-r other.txt", "-r", "write the lines of that file here"),
        ("-rother.txt", "-rother.txt", "write the lines"),
        ("--requirement=other.txt", "--requirement", "write the lines"),
        ("-c constraints.txt", "-c", "exact versions"),
        ("-e .", "-e", "travel by themselves"),
        ("--index-url https://example.com/simple", "--index-url", "UV_DEFAULT_INDEX"),
        ("--extra-index-url=https://example.com/simple", "--extra-index-url", "UV_DEFAULT_INDEX"),
        ("--pre", "--pre", "leave it out"),
        (f"pandas==2.2.3 --hash=sha256:{'0' * 64}", "--hash", "leave hashes out"),
    ],
)
def test_an_option_is_refused_with_its_line_and_what_to_do(
    tmp_path: Path, line: str, option: str, hint: str
) -> None:
    error = refused(tmp_path, f"numpy\n\n{line}\n")
    assert error.message == f"requirements.txt, line 3: the option {option} is not taken over"
    assert hint in error.hint


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("pandas @ https://example.com/pandas.whl", "pandas comes from an address"),
        ("https://example.com/pandas.whl", "is no requirement"),
        ("./mine", "is no requirement"),
        ("pandas==2.2.3 numpy", "is no requirement"),
        ("pandas=2", "is no requirement"),
    ],
)
def test_what_is_no_name_with_versions_is_refused_with_its_line(
    tmp_path: Path, line: str, said: str
) -> None:
    error = refused(tmp_path, f"numpy\n{line}\n")
    assert error.message.startswith("requirements.txt, line 2: ")
    assert said in error.message


@pytest.mark.parametrize("before", ["pandas @ git+", "git+", "-i "])
def test_no_error_shows_the_login_of_an_address(tmp_path: Path, before: str) -> None:
    error = refused(tmp_path, f"{before}https://user:s3cret@example.com/pandas.git\n")
    assert "s3cret" not in f"{error.message} {error.hint}"
    assert "user" not in error.message


def test_a_line_that_is_continued_is_known_by_its_first(tmp_path: Path) -> None:
    assert "line 2:" in refused(tmp_path, "numpy\npandas \\\n  --pre\n").message


def test_dependencies_of_a_project_are_read_and_nothing_is_built(tmp_path: Path) -> None:
    text = """
[build-system]
requires = ["does-not-exist"]
[project]
name = "mine"
dependencies = ["pandas>=2"]
[project.optional-dependencies]
gpu = ["torch"]
"""
    (tmp_path / "pyproject.toml").write_text(text)
    found = read("pyproject.toml", tmp_path)
    assert found.lines == ["pandas>=2"]
    assert found.notices == ["pyproject.toml: extras are not used: gpu"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[project]\ndynamic = ["dependencies"]\n', "are dynamic"),
        ("[tool.x]\n", "has no list [project] dependencies"),
        ('[project]\ndependencies = "pandas"\n', "has no list"),
        ('[project]\ndependencies = ["-e ."]\n', "dependency 1: the option -e"),
        ("[project\n", "is no TOML"),
    ],
)
def test_a_project_without_plain_dependencies_is_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    assert said in refused(tmp_path, text, "pyproject.toml").message


def test_of_a_conda_file_pips_part_is_taken_and_the_rest_is_told(tmp_path: Path) -> None:
    text = """
name: lab
dependencies:
  - python=3.11
  - cudatoolkit
  - pip
  - pip:
    - pandas==2.2.3
"""
    (tmp_path / "environment.yml").write_text(text)
    found = read("environment.yml", tmp_path)
    assert found.lines == ["pandas==2.2.3"]
    assert found.notices == ["environment.yml: conda's part is not used: python=3.11, cudatoolkit"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dependencies: [numpy]\n", "has no part `pip:`"),
        ("dependencies: [pip: numpy]\n", "has no part `pip:`"),
        ("name: x\n", "has no list of dependencies"),
        ("- x\n", "has no list of dependencies"),
        ("a: [\n", "is no YAML"),
        ("dependencies:\n- pip:\n  - -r more.txt\n", "pip 1: the option -r"),
    ],
)
def test_a_conda_file_without_a_part_for_pip_is_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    assert said in refused(tmp_path, text, "environment.yml").message


def test_a_file_that_is_not_there_is_told_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("")
    with pytest.raises(UsageError, match="no such file") as caught:
        read("requirement.txt", tmp_path)
    assert "did you mean requirements.txt?" in caught.value.hint
    with pytest.raises(UsageError, match="--env atuo") as caught:
        read("atuo", tmp_path)
    assert "did you mean auto?" in caught.value.hint
    with pytest.raises(UsageError, match="directory"):
        read(".", tmp_path)
    (tmp_path / "x.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="UTF-8"):
        read("x.txt", tmp_path)

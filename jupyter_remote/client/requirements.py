"""What ``--env FILE`` names: read here, line by line, and never handed on as it is.

An option in such a file could name another index, or run code of a folder; a URL is no version. So
none passes through: each is refused, with its line.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import InvalidRequirement, Requirement

from jupyter_remote.errors import UsageError

NAMED = 5  # of what is not used
INSTEAD = {
    "-r": "write the lines of that file here",
    "-c": "write exact versions here",
    "-e": "leave it out: editable packages that the code imports travel by themselves",
    "--hash": "leave hashes out: those of the lock are made when it is locked",
    "index": "set UV_DEFAULT_INDEX in the environment, here and on the worker",
    "": "leave it out",
}
_KINDS = {"--requirement": "-r", "--constraint": "-c", "--editable": "-e", "--hash": "--hash"}
_LOGIN = re.compile(r"//[^/@\s]*@")  # of an address: no error shows it
_OF_INDEXES = ("-i", "--index-url", "--extra-index-url", "-f", "--find-links", "--no-index")


class Requirements(NamedTuple):
    """What a file asks for."""

    lines: list[str]  # as packaging writes them
    notices: list[str]  # what of it is not used


def read(name: str, folder: str | Path) -> Requirements:
    """Of a requirements.txt, a pyproject.toml or an environment.yml. Raises UsageError, with the
    line and what to do."""
    path = Path(folder, name).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"--env {name} is not text in UTF-8", hint=_HINT) from None
    except OSError as error:
        raise _unreadable(name, path, error) from error
    suffix = path.suffix.lower()
    if suffix == ".toml":
        return _of_project(name, text)
    if suffix in (".yml", ".yaml"):
        return _of_conda(name, text)
    return Requirements([_checked(line, f"{name}, line {n}") for n, line in _lines(text)], [])


_HINT = "--env takes auto, none, or a requirements.txt, pyproject.toml or environment.yml"


def _unreadable(name: str, path: Path, error: OSError) -> UsageError:
    if isinstance(error, FileNotFoundError):
        beside = os.listdir(path.parent) if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, ["auto", "none", *beside], 1)
        hint = f"did you mean {near[0]}? " if near else ""
        return UsageError(f"--env {name}: there is no such file", hint=f"{hint}{_HINT}")
    return UsageError(f"--env {name} cannot be read: {error.strerror}", hint=_HINT)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Those that say something, without comments, continued ones as one: number and text."""
    begun, held = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        begun = begun or number
        plain = line if not line.lstrip().startswith("#") else ""
        plain = plain.partition(" #")[0].rstrip()
        if plain.endswith("\\"):
            held += plain[:-1] + " "
            continue
        if whole := (held + plain).strip():
            yield begun, whole
        begun, held = 0, ""
    if held.strip():
        yield begun, held.strip()


def _checked(line: str, where: str) -> str:
    """One requirement. Raises UsageError for what is more, or less."""
    words = line.split()
    option = next((word for word in words if word.startswith("-")), "")
    if option:
        flag = option.partition("=")[0]
        kind = "index" if flag in _OF_INDEXES else _KINDS.get(flag, flag[:2])
        raise UsageError(
            f"{where}: the option {flag} is not taken over", hint=INSTEAD.get(kind, INSTEAD[""])
        )
    try:
        requirement = Requirement(line)
    except InvalidRequirement as error:
        told = str(error).partition("\n")[0]
        raise UsageError(
            f"{where}: {_LOGIN.sub('//…@', line)!r} is no requirement: {told}",
            hint="write the name of a package and its version: pandas==2.2.3",
        ) from None
    if requirement.url:
        raise UsageError(
            f"{where}: {requirement.name} comes from an address, "
            f"{_LOGIN.sub('//…@', requirement.url)}",
            hint="name a version that an index has, or install it here: then --env auto takes it "
            "along as it is",
        )
    return str(requirement)


def _of_project(name: str, text: str) -> Requirements:
    try:
        project = tomllib.loads(text).get("project", {})
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name} is no TOML: {error}", hint="mend it") from None
    if "dependencies" in project.get("dynamic", ()):
        raise UsageError(
            f"{name}: its dependencies are dynamic: they are known only when it is built",
            hint="write them under [project] dependencies, or into a requirements.txt",
        )
    found = project.get("dependencies")
    if not _is_texts(found):
        raise UsageError(
            f"{name} has no list [project] dependencies", hint="write one, or use another file"
        )
    extras = ", ".join(project.get("optional-dependencies", {}))
    lines = [_checked(line, f"{name}, dependency {n}") for n, line in enumerate(found, 1)]
    return Requirements(lines, [f"{name}: extras are not used: {extras}"] if extras else [])


def _of_conda(name: str, text: str) -> Requirements:
    import yaml

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        told = " ".join(str(error).split())
        raise UsageError(f"{name} is no YAML: {told}", hint="mend it") from None
    entries = found.get("dependencies") if isinstance(found, dict) else None
    if not isinstance(entries, list):
        raise UsageError(f"{name} has no list of dependencies", hint="write one, or another file")
    of_pip = [e["pip"] for e in entries if isinstance(e, dict) and "pip" in e]
    if not of_pip or not all(map(_is_texts, of_pip)):
        raise UsageError(
            f"{name} has no part `pip:` in its dependencies, and conda's part is not used",
            hint="list what the code needs from PyPI under `- pip:`, or use --env auto",
        )
    lines = [line for part in of_pip for line in part]
    checked = [_checked(line, f"{name}, pip {n}") for n, line in enumerate(lines, 1)]
    return Requirements(checked, _not_used(name, entries))


def _not_used(name: str, entries: Iterable[Any]) -> list[str]:
    names = [e for e in entries if isinstance(e, str) and e.split("=")[0].strip() != "pip"]
    if not names:
        return []
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return [f"{name}: conda's part is not used: {', '.join(names[:NAMED])}{more}"]


def _is_texts(found: object) -> bool:
    return isinstance(found, list) and all(isinstance(each, str) for each in found)

"""Two environments compared."""

from __future__ import annotations

import platform

import numpy
from msgspec.structs import replace

from jupyter_remote.client.environment import Environment, differences, here


def test_this_side_is_as_it_is() -> None:
    ours = here(["hypothesis", "no_such_package"])
    assert ours.python == platform.python_version()
    assert ours.packages["numpy"] == numpy.__version__
    assert "hypothesis" in ours.packages
    assert "no_such_package" not in ours.packages
    assert differences(ours, ours) == []


def side(**changes: object) -> Environment:
    same = Environment(
        python="3.11.7", magic="a7", platform="Linux", machine="x86_64",
        packages={"numpy": "2.4.6", "tqdm": "4.1"},
    )  # fmt: skip
    return replace(same, **changes)


def test_what_would_crash_is_fatal_and_comes_first() -> None:
    there = side(python="3.12.1", magic="cb", machine="arm64", packages={"numpy": "1.26"})
    found = [(d.text, d.fatal) for d in differences(side(), there)]
    assert found == [
        ("Python 3.12.1 there, 3.11.7 here", True),
        ("numpy 1.26 there, 2.4.6 here", True),
        ("Linux arm64 there, Linux x86_64 here", False),
        ("tqdm 4.1 here, none there", False),
    ]


def test_a_patch_release_is_told_but_not_fatal() -> None:
    there = side(python="3.11.9", packages={"numpy": "2.4.5", "tqdm": "5.0"})
    assert not any(d.fatal for d in differences(side(), there))
    assert len(differences(side(), there)) == 3

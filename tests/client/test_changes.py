from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from jupyter_remote.client.changes import Changes, environment_here, since, verdict
from jupyter_remote.model import MachineType
from jupyter_remote.wire import (
    NameInfo,
    Receipt,
    ReceiptEnvironment,
    ReceiptFile,
    ReceiptPrice,
)

THEN = Receipt(
    receipt=1,
    id="0123abcd-0000-4000-8000-000000000000",
    kind="cell",
    status="completed",
    machine="g5.xlarge",
    code_key="c" * 64,
    code_digest="d" * 64,
    inputs=[NameInfo("x", "int", 28), NameInfo("df", "DataFrame", 300)],
    inputs_digest="e" * 64,
    files=[ReceiptFile("a.csv", "1" * 64, 3), ReceiptFile("b.csv", "2" * 64, 3)],
    files_digest="f" * 64,
    environment=ReceiptEnvironment(python="3.11.7", packages={"numpy": "2.4.5", "pandas": "3.0.0"}),
    price=ReceiptPrice(usd_per_h=0.44),
)
HERE = ReceiptEnvironment(python="3.11.7", packages={"numpy": "2.4.5", "pandas": "3.0.0"})
G5 = MachineType(id="g5.xlarge", cpus=4, memory_bytes=1, usd_per_h=0.44)


def changes(**given: Any) -> Changes:
    known: dict[str, Any] = {
        "is_known": True,
        "machine": "g5.xlarge",
        "machines": [G5],
        "environment": HERE,
    }
    return since(THEN, **(known | given))


def test_nothing_changed_says_nothing():
    assert changes() == Changes([], [])


def test_all_that_is_gone_is_named_at_once():
    found = changes(is_known=False, machines=[])
    assert found.gone == [
        "job 0123abcd (this backend does not know it)",
        "machine type g5.xlarge (not in the catalogue)",
    ]


def test_versions_and_price_that_changed_are_told_with_both_figures():
    here = ReceiptEnvironment(python="3.12.1", packages={"numpy": "2.4.6", "pandas": ""})
    found = changes(environment=here, machines=[replace(G5, usd_per_h=0.52)])
    assert found.gone == []
    assert found.changed == [
        "Python 3.11.7 → 3.12.1",
        "numpy 2.4.5 → 2.4.6",
        "pandas 3.0.0 → not installed",
        "price 0.44 → 0.52 $/h",
    ]


def test_elsewhere_the_machine_of_then_may_be_gone_and_its_price_does_not_matter():
    other = MachineType(id="g6.xlarge", cpus=4, memory_bytes=1, usd_per_h=9.0)
    assert changes(machine="g6.xlarge", machines=[other]) == Changes([], [])


@pytest.mark.parametrize(("then", "now"), [("3.11", "3.11.7"), ("3.11.7", "3.11"), ("", "3.12")])
def test_a_version_of_python_that_is_known_in_part_does_not_differ(then, now):
    receipt = replace(THEN, environment=ReceiptEnvironment(python=then))
    assert (
        since(
            receipt,
            is_known=True,
            machine="g5.xlarge",
            machines=[G5],
            environment=ReceiptEnvironment(python=now),
        ).changed
        == []
    )


def test_the_environment_here_has_the_packages_that_the_receipt_names():
    here = environment_here(THEN, {"numpy": "2.4.6", "pandas": ""}.__getitem__)
    assert here.packages == {"numpy": "2.4.6", "pandas": ""}
    assert here.python.startswith("3.")


# -- after it was repeated
def test_the_same_is_told_as_the_same():
    now = replace(THEN, id="other", started_at=5.0)
    assert verdict(THEN, now) == "same code, same inputs, same environment"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"code_key": "0" * 64}, "other code, same inputs, same environment"),
        ({"code_digest": "0" * 64}, "same code, same inputs, same environment"),  # its form only
        ({"inputs_digest": "0" * 64}, "same code, other inputs: one of x, df, same environment"),
        (
            {"files_digest": "", "files": [ReceiptFile("a.csv", "1" * 64, 3)]},
            "same code, other inputs: b.csv, same environment",
        ),
        (
            {"environment": replace(HERE, packages={"numpy": "2.4.6"})},
            "same code, same inputs, environment: numpy 2.4.5 → 2.4.6",
        ),
        (
            {"machine": "local", "price": ReceiptPrice()},
            "same code, same inputs, same environment, machine g5.xlarge → local",
        ),
        (
            {"price": ReceiptPrice(usd_per_h=0.52)},
            "same code, same inputs, same environment, price 0.44 → 0.52 $/h",
        ),
    ],
)
def test_what_differs_is_told(changed, told):
    assert verdict(THEN, replace(THEN, **changed)) == told

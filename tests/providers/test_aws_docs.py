"""``docs/aws.md`` says what the code needs, and no more."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jupyter_remote.providers.ec2 import quotas
from jupyter_remote.providers.ec2.launching import BACKEND, INSTANCE, LONGEST
from jupyter_remote.settings import Settings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "aws.md").read_text()
EC2 = ROOT / "jupyter_remote" / "providers" / "ec2"


def policy() -> list[dict[str, Any]]:
    found = re.search(r"```json\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    statements: list[dict[str, Any]] = json.loads(found[1])["Statement"]
    return statements


def actions(statement: dict[str, Any]) -> set[str]:
    named = statement["Action"]
    return {named} if isinstance(named, str) else set(named)


def called() -> Iterator[str]:
    """Actions behind the calls in the code: the service and the operation are written there."""
    for file in EC2.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr in ("call", "pages"):
                service, operation = (ast.literal_eval(arg) for arg in node.args[:2])
                yield f"{service}:{''.join(part.title() for part in operation.split('_'))}"


def test_the_policy_allows_what_is_called_and_nothing_else():
    allowed = set().union(*map(actions, policy()))
    assert allowed == {*called(), "ec2:CreateTags"}
    assert "ec2:RunInstances" in allowed


def test_whatever_changes_something_is_bound_to_the_tag():
    for statement in policy():
        if "ec2:TerminateInstances" in actions(statement):
            assert statement["Condition"] == {"Null": {f"aws:ResourceTag/{BACKEND}": "false"}}
        if "ec2:RunInstances" in actions(statement) and any(
            word in str(statement["Resource"]) for word in (":instance/", ":volume/")
        ):
            assert statement["Condition"] == {"Null": {f"aws:RequestTag/{BACKEND}": "false"}}
        if "ec2:CreateTags" in actions(statement):
            assert "ec2:CreateAction" in str(statement["Condition"])


def test_settings_and_tags_that_are_named_are_there():
    named = set(re.findall(r"JUPYTER_REMOTE_([A-Z0-9_]+)", TEXT))
    assert {name.lower() for name in named} <= set(Settings.__struct_fields__)
    assert all(f"`{tag}`" in TEXT for tag in (BACKEND, INSTANCE, LONGEST))


def test_quotas_are_those_of_the_code():
    table = TEXT[TEXT.index("## Quotas") : TEXT.index("## That no machine")]
    known = {q.code for kinds in (quotas._ON_DEMAND, quotas._SPOT) for q in kinds.values()}
    assert set(re.findall(r"L-[0-9A-F]{8}", table)) <= known

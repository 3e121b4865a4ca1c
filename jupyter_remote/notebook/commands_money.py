"""``%remote`` balance, ledger, budget."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from jupyter_remote.cards import words as say
from jupyter_remote.errors import UsageError
from jupyter_remote.money.budgets import DAY, NOTEBOOK, SCOPES
from jupyter_remote.money.meter import amount_text, credits_of
from jupyter_remote.money.statement import Line, lines
from jupyter_remote.notebook import quantities
from jupyter_remote.notebook.commands import Command, Given
from jupyter_remote.notebook.options import Option, no_such
from jupyter_remote.notebook.tables import Table

if TYPE_CHECKING:
    from jupyter_remote.model import Budget
    from jupyter_remote.notebook.context import Context

LISTED = 100  # entries of the ledger; a line is made of one or two
MOST_LISTED = 1000


def balance(context: Context, given: Given, words: list[str]) -> None:
    balance = context.client.balance()
    for label, amount, note in (
        ("available", balance.available_ucredits, ""),
        ("held", balance.held_ucredits, "  for jobs that are queued or run"),
        ("spent", balance.spent_ucredits, "  in all"),
    ):
        print(f"{label:>9}  {amount_text(amount)}{note}")


def ledger(context: Context, given: Given, words: list[str]) -> Table:
    limit = MOST_LISTED if given.get("all") else LISTED
    entries = context.client.ledger(limit)
    cut = len(entries) == limit
    rows = [_ledger_row(line) for line in lines(entries)]
    notes = ["credits; 1 is $0.01"]
    if cut:
        notes.append(f"the newest {len(rows)}" + ("" if given.get("all") else "; --all: more"))
    return Table(
        ["time", "what", "credits", "available", "held", "job", "which"],
        rows,
        empty="the ledger is empty",
        note="; ".join(notes),
        numbers=(2, 3, 4),
        whole=(0, 1, 5),
    )


def _ledger_row(line: Line) -> list[str]:
    return [
        time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(line.at)),
        line.what,
        _credits(line.ucredits),
        _credits(line.available_ucredits),
        _credits(line.held_ucredits),
        say.short(line.job),
        line.description,
    ]


def _credits(ucredits: int | None) -> str:
    """To the last micro-credit: what is charged for a moment is no zero."""
    return "" if ucredits is None else f"{credits_of(ucredits):,.6f}"


def budget(context: Context, given: Given, words: list[str]) -> Table:
    clear = bool(given.get("clear"))
    if len(words) > 2 or (clear and len(words) == 2):
        raise UsageError("say one budget", hint="%remote budget day 5, %remote budget day --clear")
    client, notebook = context.client, given.get("notebook")
    if words:
        if words[0] not in SCOPES:
            raise no_such("budget", words[0], SCOPES)
        if len(words) < 2 and not clear:
            raise UsageError(
                "say how much, in USD", hint=f"%remote budget {words[0]} 5, or --clear to lift it"
            )
        client.set_budget(words[0], None if clear else _usd(words[1]), notebook)
    elif clear:
        for each in client.budgets():
            client.set_budget(each.scope, None, each.name or None)
    return Table(
        ["budget", "limit", "spent", "held", "left"],
        [_budget_row(each) for each in client.budgets()],
        empty="no budgets: %remote budget day 5 lets the jobs of a day spend $5",
        note="what jobs hold is not left for others",
        numbers=(1, 2, 3, 4),
    )


def _usd(text: str) -> float:
    return 0.0 if text.removeprefix("$") in ("0", "0.0", "0.00") else quantities.usd(text)


def _budget_row(budget: Budget) -> list[str]:
    which = {
        DAY: f"day ({budget.day}, UTC)",
        NOTEBOOK: f"notebook {budget.name}",
    }.get(budget.scope, budget.scope)
    amounts = (
        budget.limit_ucredits,
        budget.spent_ucredits,
        budget.held_ucredits,
        budget.left_ucredits,
    )
    return [which, *map(say.money, amounts)]


_LEDGER = (Option(("-a", "--all"), f"the newest {MOST_LISTED} entries"),)
_BUDGET = (
    Option(("--clear",), "lift it; without a word every one"),
    Option(("--notebook",), "another notebook than this one", "NAME", quantities.word),
)
COMMANDS = (
    Command("balance", balance, "credits available, held and spent"),
    Command("ledger", ledger, "every entry of the account, in plain words", options=_LEDGER),
    Command(
        "budget",
        budget,
        "what a day, a notebook or the account may spend; alone, shows what is left",
        "[day|notebook|account [USD]]",
        _BUDGET,
    ),
)

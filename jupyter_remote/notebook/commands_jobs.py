"""``%remote`` jobs, show, history, logs, attach, result, cancel."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from jupyter_remote.amounts import force_after_s
from jupyter_remote.cards import words as say
from jupyter_remote.cards.render import machine_of, status_line
from jupyter_remote.cards.state import CardState, cost_now, elapsed_s, state_of
from jupyter_remote.client.machines import boot_text
from jupyter_remote.errors import UsageError
from jupyter_remote.model import Status
from jupyter_remote.notebook import again, receipts, sharing, whole
from jupyter_remote.notebook.commands import Command, Given
from jupyter_remote.notebook.ids import find
from jupyter_remote.notebook.options import Option
from jupyter_remote.notebook.prepare import VALUE
from jupyter_remote.notebook.show import Shown
from jupyter_remote.notebook.tables import Table

if TYPE_CHECKING:
    from jupyter_remote.notebook.context import Context

LISTED = 20
STATUS = 48  # characters
_EXPLAINED = (Status.FAILED, Status.CANCELLING)


def jobs(context: Context, given: Given, words: list[str]) -> Table:
    status = given.get("status")
    limit = None if given.get("all") else LISTED
    found = [state_of(job.view) for job in context.client.jobs(status=status, limit=limit)]
    none = f"no {status} jobs" if status else "no jobs yet: %%remote_run runs a cell as a job"
    return Table(
        ["job", "status", "what", "machine", "submitted", "ran", "cost"],
        [_row(state, time.time()) for state in found],
        empty=none,
        note=f"the newest {limit}; %remote jobs --all lists more" if len(found) == limit else "",
        numbers=(5, 6),
        whole=(0, 4),
    )


def _row(state: CardState, now: float) -> list[str]:
    return [
        say.short(state.id),
        _cut(status_line(state, now)) if state.status in _EXPLAINED else state.status,
        state.description or state.kind,
        machine_of(state),
        _when(state.submitted_at, now),
        say.duration(elapsed_s(state, now)) if state.started_at is not None else "",
        say.money(cost_now(state, now)),
    ]


def _cut(text: str) -> str:
    return text if len(text) <= STATUS else text[: STATUS - 1] + "…"


def _when(at: float, now: float) -> str:
    """Of today the time is enough."""
    then, today = time.localtime(at), time.localtime(now)
    same = then.tm_yday == today.tm_yday and then.tm_year == today.tm_year
    return time.strftime("%H:%M:%S" if same else "%Y-%m-%d %H:%M", then)


def show(context: Context, given: Given, words: list[str]) -> Table | None:
    job = find(context, words)
    if given.get("json"):
        print(json.dumps(job.receipt, indent=1, ensure_ascii=False))
        return None
    view, now = job.view, time.time()
    if (receipt := job.whole_receipt) is not None:
        return receipts.table(receipt, sharing.line(context, job))
    state = state_of(view)
    inputs = ", ".join(f"{n.name} ({n.type}, {say.size(n.size_bytes)})" for n in view.inputs)
    rows = [
        ("id", view.id),
        ("what", view.description or view.kind),
        ("status", status_line(state, now)),
        ("visibility", sharing.line(context, job)),
        ("machine", machine_of(state)),
        ("attempt", str(view.attempt)),
        ("submitted", time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(view.submitted_at))),
        ("ran", _ran(state, now)),
        ("price", say.price(view.money.rate_ucredits_per_h)),
        ("cost", f"{say.money(cost_now(state, now))}, held {say.money(view.money.hold_ucredits)}"),
        ("inputs", f"{inputs or 'none'}: {say.size(view.inputs_bytes)}"),
    ]
    if view.resumes:
        rows.append(("resumes", f"the checkpoint of job {say.short(view.resumes)}"))
    if view.checkpoint_at is not None:
        at = time.strftime("%H:%M:%S", time.localtime(view.checkpoint_at))
        rows.append(("checkpoint", f"{say.size(view.checkpoint_bytes)}, {at}"))
    return Table(["", "job"], rows, empty="")


def _ran(state: CardState, now: float) -> str:
    return say.duration(elapsed_s(state, now)) if state.started_at is not None else "not yet"


def history(context: Context, given: Given, words: list[str]) -> Table:
    lines = find(context, words).history
    rows = [[time.strftime("%H:%M:%S", time.localtime(h.at)), h.text or h.event] for h in lines]
    return Table(["time", "what happened"], rows, empty="nothing happened yet")


def logs(context: Context, given: Given, words: list[str]) -> None:
    if given.get("boot"):
        print(boot_text(context.client.boot_log(_machine_or_job(context, words))))
    else:
        print(find(context, words).logs(), end="")


def _machine_or_job(context: Context, words: list[str]) -> str:
    """The id of a machine as it is, or of the job that is meant."""
    known = {one.id for one in context.client.instances()} if words else set()
    return words[0] if words and words[0] in known else find(context, words).id


def attach(context: Context, given: Given, words: list[str]) -> Any:
    """The job's output goes on in this cell; its end comes home as if it had started here."""
    job = find(context, words)
    after = job.view.cursor if given.get("new") else 0
    context.client.remember(job)
    shown = Shown(context, job, blocking=True, after=after, results=False)
    return again.brought(context, shown, shown.wait())


def result(context: Context, given: Given, words: list[str]) -> Any:
    if sharing.asked(given):
        return sharing.change(context, given, words)
    if (found := sharing.somebodys(context, words)) is not None:
        return found
    job = find(context, words)
    if not job.done():
        raise UsageError(
            f"job {say.short(job.id)} is {job.status}",
            hint=f"%remote attach {say.short(job.id)} waits for it",
        )
    if job.view.kind == "notebook":
        return whole.write(job)
    value = job.result()
    is_expression = isinstance(value, dict) and VALUE in value
    return value[VALUE] if is_expression else value


def cancel(context: Context, given: Given, words: list[str]) -> None:
    job = find(context, words)
    force, checkpoint = bool(given.get("force")), bool(given.get("checkpoint"))
    after = given.get("after")
    if force and (checkpoint or after is not None):
        other = "--after" if after is not None else "--checkpoint"
        raise UsageError(
            "what is killed at once saves nothing", hint=f"leave out --force or {other}"
        )
    had_ended = job.done()
    asked = job.cancel(force, checkpoint=checkpoint, force_after=after)
    short = say.short(job.id)
    if had_ended or not asked:
        print(f"job {short} had ended before: {job.status}")
    elif force:
        print(f"job {short} killed")
    else:
        saves = "to save a checkpoint and " if checkpoint else ""
        view = job.view
        soon = view.status == Status.CANCELLING  # else it has ended meanwhile
        when = f" ({say.deadline(view.kill_at, time.time())})" if soon else ""
        print(f"job {short} was asked {saves}to stop{when}")


_JOBS = (
    Option(("-a", "--all"), "all of them"),
    Option(("--status",), "only those", "STATUS"),
)
_ATTACH = (Option(("--new",), "only output from now on"),)
_CANCEL = (
    Option(("-f", "--force"), "kill at once; without it the code may clean up first"),
    Option(("--checkpoint",), "let it save what is done first: --resume goes on from there"),
    Option(("--after",), "then kill it, if it goes on; never: not at all", "10s", force_after_s),
)
_LOGS = (Option(("--boot",), "how the machine booted that was rented for it"),)
_SHOW = (Option(("--json",), "as JSON, with every digest"),)
_ID = "[ID]"
COMMANDS = (
    Command("jobs", jobs, "your jobs, newest first", options=_JOBS),
    Command("show", show, "all about one job: its receipt, once it ended", _ID, _SHOW),
    Command("history", history, "what happened to a job, in plain words", _ID),
    Command("logs", logs, "everything a job printed", _ID, _LOGS),
    Command("attach", attach, "a job's output and result in this cell", _ID, _ATTACH),
    Command("result", result, "the value of a job that ended", _ID, sharing.OPTIONS),
    Command("cancel", cancel, "stop a job", _ID, _CANCEL),
)

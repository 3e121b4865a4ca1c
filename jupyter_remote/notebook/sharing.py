"""``%remote result ID --share`` and ``--revoke``: who else may open a result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_remote.cards import words as say
from jupyter_remote.client.context import FULL_ID
from jupyter_remote.client.sharing import opens_where
from jupyter_remote.errors import UsageError
from jupyter_remote.notebook.ids import find
from jupyter_remote.notebook.options import Option, no_such

if TYPE_CHECKING:
    from jupyter_remote.client.jobs import Job
    from jupyter_remote.client.sharing import JobResult
    from jupyter_remote.notebook.commands import Given
    from jupyter_remote.notebook.context import Context

WAYS = ("unlisted", "public")


def _way(text: str) -> str:
    if text not in WAYS:
        raise no_such("way to share", text, WAYS)
    return text


OPTIONS = (
    Option(("--share",), "let it be opened without a token: unlisted, public", "HOW", _way),
    Option(("--revoke",), "take it back: its address is never good again"),
)


def asked(given: Given) -> bool:
    """Is this about who may open it, and not about its value?"""
    if "share" in given and "revoke" in given:
        raise UsageError("--share and --revoke are opposites", hint="give one of them")
    return "share" in given or "revoke" in given


def change(context: Context, given: Given, words: list[str]) -> None:
    """Share a result, or take it back, and say where it is."""
    job = find(context, words)
    short = say.short(job.id)
    if "revoke" in given:
        context.client.revoke(job)
        print(f"the result of job {short} is private; an address that it had is good no more")
        return
    found = context.client.share(job, given["share"])
    print(f"{found.visibility}: {found.results_url}")
    ended = "" if job.done() else "; there is nothing to see before the job has ended"
    print(f"{opens_where(found.results_url)}{ended}; %remote result {short} --revoke takes it back")


def somebodys(context: Context, words: list[str]) -> JobResult | None:
    """A result that was shared, by its address or its own id; None: it is a job that is named."""
    if len(words) != 1 or ("://" not in words[0] and len(words[0]) < FULL_ID):
        return None
    found = context.client.result(words[0])
    return None if found.jobs_uuid == words[0] else found


def line(context: Context, job: Job) -> str:
    """``private``, or where it opens."""
    found = context.client.result(job)
    if not found.results_url:
        return found.visibility
    return f"{found.visibility}: {found.results_url} ({opens_where(found.results_url)})"

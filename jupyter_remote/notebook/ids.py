"""Names of jobs as people type them: a uuid, its unique beginning, ``last``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_remote.errors import UsageError

if TYPE_CHECKING:
    from jupyter_remote.client.jobs import Job
    from jupyter_remote.notebook.context import Context


def find(context: Context, words: list[str]) -> Job:
    """The job that the words name, the last one if there are none.

    Raises UsageError when several jobs fit, NotFound when none does.
    """
    if len(words) > 1:
        raise UsageError("say one job: a uuid, its beginning, or last")
    return context.client.job(words[0] if words else "last")

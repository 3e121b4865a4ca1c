"""A link that opens the page of jobs, once, in a browser that has no token."""

from __future__ import annotations

import html
import os
from pathlib import Path

from jupyter_remote.client.sharing import LOOPBACK
from jupyter_remote.wire import PageLink

LINKS = "/v1/page/links"
FILE_NAME = "jupyter_remote_page.html"


def lines_of(link: PageLink, now: float) -> list[str]:
    """The link, and what whoever opens it should know."""
    minutes = max(0, round((link.expires_at - now) / 60))
    told = f"Good once, for {minutes} minutes: whoever opens it sees and may cancel your jobs."
    host = link.url.partition("://")[2].partition("/")[0].rpartition(":")[0]
    if host.strip("[]") in LOOPBACK:
        told += " It opens on this computer only."
    return [link.url, told]


def open_here(link: PageLink, folder: Path) -> bool:
    """Open it in this computer's browser; False: there is none.

    By way of a file of this user's: what a program is started with, everybody here may read.
    """
    import webbrowser

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / FILE_NAME
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w") as file:
        url = html.escape(link.url, quote=True)
        file.write(
            '<!DOCTYPE html><meta charset="utf-8"><meta name="referrer" content="no-referrer">'
            f'<meta http-equiv="refresh" content="0; url={url}"><a href="{url}">Remote jobs</a>'
        )
    return webbrowser.open(path.as_uri())

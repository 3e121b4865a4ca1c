"""Jupyter Server's side of the panel: forwards what the page asks to the backend."""

from __future__ import annotations

from typing import Any


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "jupyter_remote.server_extension"}]


def _load_jupyter_server_extension(server: Any) -> None:
    """Called by Jupyter Server when it starts. The backend is looked for at the first request."""
    from jupyter_remote.server_extension.handlers import install

    install(server)

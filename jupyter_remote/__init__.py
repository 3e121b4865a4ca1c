"""Run notebook cells and functions on cloud GPUs: live output, progress and price in the notebook.

``%load_ext jupyter_remote`` in IPython, or ``import jupyter_remote as jr`` in Python.
Importing this package loads nothing heavy: every public name is resolved when first used.
"""

from __future__ import annotations

import datetime as _datetime  # noqa: F401  msgspec would take an interrupt in it for done, and crash
import importlib
from typing import TYPE_CHECKING, Any

from jupyter_remote.imports import after_import

__version__ = "0.1.0"

if TYPE_CHECKING:
    from jupyter_remote.client.api import Client
    from jupyter_remote.client.jobs import Batch, Job
    from jupyter_remote.client.plan import Plan
    from jupyter_remote.client.views.base import View
    from jupyter_remote.client.views.dependencies import Dependency, depend, interactive, require
    from jupyter_remote.client.views.results import AsyncResult
    from jupyter_remote.client.views.session import Session
    from jupyter_remote.errors import (
        BackendUnreachable,
        BudgetExceeded,
        CaptureError,
        CompositeError,
        EngineError,
        EnvironmentMismatch,
        InsufficientFunds,
        JobCancelled,
        JobLost,
        JobTimedOut,
        JupyterRemoteError,
        NotAuthorized,
        RemoteError,
        TaskAborted,
        UnmetDependencyError,
    )
    from jupyter_remote.notebook.decorator import remote
    from jupyter_remote.remotely import Reference
    from jupyter_remote.worker.inside import job, on_checkpoint, progress

_WHERE = {
    "Client": "client.api",
    "Job": "client.jobs",
    "Batch": "client.jobs",
    "Plan": "client.plan",
    "AsyncResult": "client.views.results",
    "Session": "client.views.session",
    "View": "client.views.base",
    "Reference": "remotely",
    "require": "client.views.dependencies",
    "depend": "client.views.dependencies",
    "interactive": "client.views.dependencies",
    "Dependency": "client.views.dependencies",
    "remote": "notebook.decorator",
    "progress": "worker.inside",
    "job": "worker.inside",
    "on_checkpoint": "worker.inside",
    **dict.fromkeys(
        (
            "BackendUnreachable",
            "BudgetExceeded",
            "CaptureError",
            "CompositeError",
            "EngineError",
            "EnvironmentMismatch",
            "InsufficientFunds",
            "JobCancelled",
            "JobLost",
            "JobTimedOut",
            "JupyterRemoteError",
            "NotAuthorized",
            "RemoteError",
            "TaskAborted",
            "UnmetDependencyError",
        ),
        "errors",
    ),
}

__all__ = [
    "AsyncResult",
    "BackendUnreachable",
    "Batch",
    "BudgetExceeded",
    "CaptureError",
    "Client",
    "CompositeError",
    "Dependency",
    "EngineError",
    "EnvironmentMismatch",
    "InsufficientFunds",
    "Job",
    "JobCancelled",
    "JobLost",
    "JobTimedOut",
    "JupyterRemoteError",
    "NotAuthorized",
    "Plan",
    "Reference",
    "RemoteError",
    "Session",
    "TaskAborted",
    "UnmetDependencyError",
    "View",
    "__version__",
    "depend",
    "interactive",
    "job",
    "on_checkpoint",
    "progress",
    "remote",
    "require",
]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(importlib.import_module(f"jupyter_remote.{_WHERE[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


def load_ipython_extension(ipython: Any) -> None:
    """Called by ``%load_ext jupyter_remote``."""
    from jupyter_remote.notebook.magics import load

    load(ipython)


def unload_ipython_extension(ipython: Any) -> None:
    """Called by ``%unload_ext jupyter_remote``."""
    from jupyter_remote.notebook.magics import unload

    unload(ipython)


def _register_joblib(joblib_parallel: Any) -> None:
    """``joblib.parallel_config(backend="jupyter_remote")``."""
    joblib_parallel.register_parallel_backend("jupyter_remote", _joblib_backend)


def _joblib_backend(client: Client | None = None, **options: Any) -> Any:
    from jupyter_remote.client.views.joblib_backend import SessionBackend
    from jupyter_remote.notebook.context import current

    return SessionBackend(client or current().client, **options)


after_import("joblib.parallel", _register_joblib)

"""The public face, and what importing it costs."""

import json
import subprocess
import sys

import jupyter_remote as jr

PUBLIC = {
    "AsyncResult",
    "Dependency",
    "interactive",
    "EngineError",
    "Reference",
    "Session",
    "TaskAborted",
    "UnmetDependencyError",
    "View",
    "depend",
    "require",
    "BackendUnreachable",
    "Batch",
    "BudgetExceeded",
    "CaptureError",
    "Client",
    "CompositeError",
    "EnvironmentMismatch",
    "InsufficientFunds",
    "Job",
    "JobCancelled",
    "JobLost",
    "JobTimedOut",
    "JupyterRemoteError",
    "NotAuthorized",
    "Plan",
    "RemoteError",
    "__version__",
    "job",
    "on_checkpoint",
    "progress",
    "remote",
}
HEAVY = [
    *("boto3", "sqlalchemy", "alembic", "starlette", "uvicorn", "httpx", "cloudpickle"),
    *("ipywidgets", "anywidget", "IPython", "ipykernel", "nbclient", "numpy", "pandas", "joblib"),
]


def test_the_public_names_are_exactly_these():
    assert set(jr.__all__) == PUBLIC


def test_every_public_name_is_there():
    assert all(getattr(jr, name) is not None for name in PUBLIC - {"job"})
    assert jr.job is not None


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(jr, "no_such_name")


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, json, jupyter_remote;"
        f"print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []

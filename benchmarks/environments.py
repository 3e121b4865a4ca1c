"""What an environment costs: the first time, when it is known, and from a new agent.

Run by hand: ``python -m benchmarks.environments [repeats]``. A worker whose own packages are those
that it needs itself runs a call that uses pandas and scikit-learn, which are installed here. Its
price is compared, in the same run, with that of a call that needs nothing, on the same worker.

"to start" is from the call here to the line in which its code may run: lock, submit, build, kernel.
The environment itself is what the worker does until it knows the interpreter.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
from sklearn.linear_model import LinearRegression

import jupyter_remote as jr
from jupyter_remote.client import provision
from jupyter_remote.client.places import Place
from jupyter_remote.settings import Settings
from jupyter_remote.worker.environments import Environments
from jupyter_remote.worker.installed import environment
from jupyter_remote.worker.transfer import Transfer
from tests.e2e.bare import Elsewhere, elsewhere, pip_settings


def fit() -> float:
    frame = pandas.DataFrame({"x": [0.0, 1.0, 2.0], "y": [1.0, 3.0, 5.0]})
    return float(LinearRegression().fit(frame[["x"]], frame["y"]).coef_[0])


def nothing() -> int:
    return 1


def timed(what: Callable[[], Any]) -> float:
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


def to_start_s(client: jr.Client, function: Callable[[], Any]) -> float:
    began = time.time()
    job = client.submit(function)
    job.result()
    assert job.view.started_at is not None
    return job.view.started_at - began


def told(what: str, seconds: list[float]) -> None:
    low, high = min(seconds), max(seconds)
    print(f"{what:58} {statistics.median(seconds):8.3f} s   ({low:.3f} to {high:.3f})")


def of_jobs(place: Elsewhere, repeats: int) -> None:
    with jr.Client(place.url, place.token, namespace=vars(sys.modules["__main__"])) as plain:
        client = plain.with_options(machine="bare")
        none = client.with_options(environment="none")
        none.submit(nothing).result()
        told("first job, to start: lock, build, kernel", [to_start_s(client, fit)])
        told("known, to start", [to_start_s(client, fit) for _ in range(repeats)])
        told(
            "without an environment, to start", [to_start_s(none, nothing) for _ in range(repeats)]
        )
        place.stop()
        place.start()
        none.submit(nothing).result()
        told("known, from a new agent, to start", [to_start_s(client, fit)])


def of_the_parts(place: Elsewhere, repeats: int) -> None:
    there = Place(there=place.server.backend.fleet.environment_of(place.server.backend, "bare"))
    with tempfile.TemporaryDirectory() as home:
        settings, used = Settings(home=home), ["pandas", "sklearn.linear_model"]
        locks = [timed(lambda: provision.provided("auto", lambda: there, used, [], settings))]
        told("lock: asked for", locks)
        again = [
            timed(lambda: provision.provided("auto", lambda: there, used, [], settings))
            for _ in range(repeats)
        ]
        told("lock: known", again)
        spec = provision.provided("auto", lambda: there, used, [], settings).spec
        assert spec is not None
        folder = Path(home)
        made = Environments(folder / "built", Transfer(folder, ""), str(place.python))

        async def build() -> None:
            await made.interpreter(spec, "", lambda *_: None)

        told("environment: built, packages in uv's cache", [timed(lambda: asyncio.run(build()))])
        known = [timed(lambda: asyncio.run(build())) for _ in range(repeats)]
        told("environment: known", known)


def main(repeats: int) -> None:
    os.environ.update(pip_settings())
    print(f"Python {environment().python}, pandas {pandas.__version__}")
    with (
        tempfile.TemporaryDirectory() as folder,
        elsewhere(Path(folder)) as place,
    ):
        place.start()
        of_jobs(place, repeats)
        of_the_parts(place, repeats)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)

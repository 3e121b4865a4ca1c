"""One face for four systems, so that each does the same work: start, submit, result, map, close."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any


class Adapter:
    """What a workload needs of a system. ``submit`` gives a handle for ``result``."""

    packages: tuple[str, ...] = ()
    one_by_one = 10_000  # tasks that are submitted one by one
    joining = ""  # a program that uses what runs already, and prints the result of int()

    def start(self) -> None: ...

    def submit(self, function: Callable[..., Any], *args: Any) -> Any: ...

    def result(self, handle: Any) -> Any: ...

    def close(self) -> None: ...

    def map(self, function: Callable[..., Any], xs: Iterable[Any]) -> list[Any]:
        return [self.result(h) for h in [self.submit(function, x) for x in xs]]

    def live(self, function: Callable[..., Any], args: tuple[Any, ...], sink: Any) -> None:
        """Run ``function`` while what it prints goes to ``sink``."""
        with redirected(sink):
            self.result(self.submit(function, *args))
            sink.settle()


@contextlib.contextmanager
def redirected(sink: Any) -> Iterator[None]:
    """``sys.stdout`` is ``sink`` meanwhile, for every thread."""
    old, sys.stdout = sys.stdout, sink
    try:
        yield
    finally:
        sys.stdout = old


class Ours(Adapter):
    """The embedded backend, in folders of its own. Each submit is a durable job."""

    packages = ("jupyter-remote-run",)
    one_by_one = 1_000
    joining = "import jupyter_remote as jr; print(jr.Client().submit(int).result(), flush=True)"

    def start(self) -> None:
        import jupyter_remote as jr

        self.folder = tempfile.TemporaryDirectory(prefix="bench-")
        os.environ["JUPYTER_DATA_DIR"] = os.environ["JUPYTER_RUNTIME_DIR"] = self.folder.name
        os.environ["JUPYTER_REMOTE_SLOTS"] = "2"
        self.client = jr.Client()

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.client.submit(function, *args)

    def result(self, handle: Any) -> Any:
        return handle.result()

    def map(self, function: Callable[..., Any], xs: Iterable[Any]) -> list[Any]:
        return list(self.client.map(function, list(xs)).results())

    def live(self, function: Callable[..., Any], args: tuple[Any, ...], sink: Any) -> None:
        handle = self.client.submit(function, *args)
        handle.on_event(lambda event: sink.write_event(event))
        handle.result()
        sink.settle()

    def close(self) -> None:
        import subprocess

        self.client.close()
        subprocess.run([sys.executable, "-m", "jupyter_remote", "stop"], check=False)
        self.folder.cleanup()


class View(Ours):
    """The same backend: calls of a load-balanced view over two sessions, which are no jobs."""

    def start(self) -> None:
        super().start()
        self.view = self.client.load_balanced_view()

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.view.apply_async(function, *args)

    def map(self, function: Callable[..., Any], xs: Iterable[Any]) -> list[Any]:
        return list(self.view.map_sync(function, list(xs)))

    def live(self, function: Callable[..., Any], args: tuple[Any, ...], sink: Any) -> None:
        handle, seen = self.view.apply_async(function, *args), 0
        end = time.monotonic() + 120
        while not sink.complete() and time.monotonic() < end:
            text = handle.stdout
            cut = text.rfind("\n") + 1
            if cut > seen:
                sink.write(text[seen:cut])
                seen = cut
            time.sleep(0.0005)
        handle.get()


class Ray(Adapter):
    packages = ("ray",)
    joining = (
        "import ray; ray.init('auto', log_to_driver=False); "
        "print(ray.get(ray.remote(lambda: 0).remote()), flush=True)"
    )

    def start(self) -> None:
        import ray

        self.ray = ray
        ray.init(num_cpus=2, include_dashboard=False)
        self.remotes: dict[Any, Any] = {}

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        if function not in self.remotes:
            self.remotes[function] = self.ray.remote(function)
        return self.remotes[function].remote(*args)

    def result(self, handle: Any) -> Any:
        return self.ray.get(handle)

    def map(self, function: Callable[..., Any], xs: Iterable[Any]) -> list[Any]:
        return list(self.ray.get([self.submit(function, x) for x in xs]))

    def close(self) -> None:
        self.ray.shutdown()


class Dask(Adapter):
    packages = ("distributed",)

    def start(self) -> None:
        from distributed import Client, LocalCluster

        self.cluster = LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        )
        self.client = Client(self.cluster)

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.client.submit(function, *args, pure=False)

    def result(self, handle: Any) -> Any:
        return handle.result()

    def map(self, function: Callable[..., Any], xs: Iterable[Any]) -> list[Any]:
        return list(self.client.gather(self.client.map(function, list(xs), pure=False)))

    def live(self, function: Callable[..., Any], args: tuple[Any, ...], sink: Any) -> None:
        # a plain print stays with the worker; distributed has a print of its own
        super().live(function, (*args, "distributed"), sink)

    def close(self) -> None:
        self.client.close()
        self.cluster.close()


class Ipyparallel(Adapter):
    packages = ("ipyparallel", "ipykernel")

    def start(self) -> None:
        import ipyparallel

        self.cluster = ipyparallel.Cluster(n=2, log_level=40)
        self.client = self.cluster.start_and_connect_sync(activate=False)
        self.client.wait_for_engines(2, interactive=False)
        self.view = self.client.load_balanced_view()

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.view.apply_async(function, *args)

    def result(self, handle: Any) -> Any:
        return handle.get()

    def map(self, function: Callable[..., Any], xs: Iterable[Any]) -> list[Any]:
        return list(self.view.map_sync(function, xs))

    def live(self, function: Callable[..., Any], args: tuple[Any, ...], sink: Any) -> None:
        # stream_output() fails on a load-balanced result that has not finished (9.2.0), so what
        # the client has collected is read as it grows
        handle = self.submit(function, *args)
        metadata, seen = self.client.metadata[handle.msg_ids[0]], 0
        end = time.monotonic() + 120
        while not sink.complete() and time.monotonic() < end:
            text = metadata["stdout"]
            cut = text.rfind("\n") + 1
            if cut > seen:
                sink.write(text[seen:cut])
                seen = cut
            time.sleep(0.0005)
        handle.get()

    def close(self) -> None:
        self.client.close()
        self.cluster.stop_cluster_sync()


PEERS: dict[str, type[Adapter]] = {
    "jupyter_remote": Ours,
    "jupyter_remote view": View,
    "ipyparallel": Ipyparallel,
    "dask": Dask,
    "ray": Ray,
}

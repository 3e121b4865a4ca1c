"""EC2 on this computer, to try things by hand: ``python -m tests.cloud``.

It prints the environment variables of a backend that launches here, and runs until it is
interrupted. Machines are processes; as root they can be namespaces, which reach the backend only
through a proxy to its ``--backend-port``.
"""

from __future__ import annotations

import argparse
import shlex
import signal

from tests.cloud.simulator import Simulator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", choices=["namespaces", "processes"], default="processes")
    parser.add_argument("--backend-port", type=int, default=0)
    options = parser.parse_args()
    with Simulator(options.mode) as cloud:
        told = cloud.environment()
        if options.backend_port:
            told["JUPYTER_REMOTE_WORKER_URL"] = cloud.proxy(options.backend_port).url
        for name, value in told.items():
            print(f"export {name}={shlex.quote(value)}", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main()

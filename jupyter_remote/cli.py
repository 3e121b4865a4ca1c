"""``jupyter remote …``: each command with ``--json``. Heavy imports wait for their command."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from jupyter_remote import __version__, errors

if TYPE_CHECKING:
    from jupyter_remote.settings import Settings

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status. Errors go to stderr, with the next step."""
    options = parser().parse_args(arguments)
    command: Command = options.command
    try:
        return command(options)
    except errors.JupyterRemoteError as error:
        _tell(error, options.json)
        return 1
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        sys.stderr.close()
        return 1
    except KeyboardInterrupt:
        return 130


def _tell(error: errors.JupyterRemoteError, as_json: bool) -> None:
    if as_json:
        from jupyter_remote import wire

        sys.stdout.write(wire.encode(wire.problem_of(error)).decode() + "\n")
    else:
        sys.stderr.write(f"{error}\n")


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(
        prog="jupyter remote", description="Run notebook cells and functions elsewhere."
    )
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    _add_processes(commands)
    _add_jobs(commands)
    _add_money(commands)
    _add_care(commands)
    return top


if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def _add(commands: Commands, name: str, command: Command, help: str) -> argparse.ArgumentParser:
    one = commands.add_parser(name, help=help, description=help)
    one.add_argument("--json", action="store_true", help="print JSON")
    one.set_defaults(command=command)
    return one


def _add_processes(commands: Commands) -> None:
    serve = _add(commands, "serve", _serve, "run a backend")
    serve.add_argument("--embedded", action="store_true", help="for this user's notebooks only")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on")
    serve.add_argument("--port", type=int, default=0, help="0: any that is free")
    serve.add_argument("--name", action="append", default=[], help="a further Host to answer to")
    serve.add_argument("--behind-proxy", action="store_true", help="a proxy in front has TLS")
    serve.add_argument("--certificate", default="", help="PEM file")
    serve.add_argument("--key", default="", help="PEM file")
    worker = _add(commands, "worker", _worker, "run a worker that dials a backend")
    worker.add_argument("--config", required=True, help="file with address and token, mode 0600")
    _add(commands, "status", _lazy("status"), "which backend runs, and how it is")
    page = _add(commands, "page", _lazy("page"), "a link that opens your jobs in a browser, once")
    page.add_argument("--open", action="store_true", help="open it in this computer's browser")
    stop = _add(commands, "stop", _lazy("stop"), "end the embedded backend; queued jobs are kept")
    stop.add_argument("--timeout", type=float, default=30.0, metavar="S", help="then it is killed")


def _add_jobs(commands: Commands) -> None:
    jobs = _add(commands, "jobs", _lazy("jobs"), "list your jobs")
    jobs.add_argument("--status", help="queued, running, cancelling, completed, failed, cancelled")
    jobs.add_argument("--limit", type=int, default=20)
    for name, help in (
        ("logs", "print all that a job printed"),
        ("cancel", "cancel a job: free before it started"),
    ):
        one = _add(commands, name, _lazy(name), help)
        one.add_argument("id", help="a job's id, its unique beginning, or `last`")
        if name == "logs":
            one.add_argument("--boot", action="store_true", help="of the boot of its machine")
        if name == "cancel":
            how = one.add_mutually_exclusive_group()
            how.add_argument("--force", action="store_true", help="kill at once")
            how.add_argument("--checkpoint", action="store_true", help="save what is done first")
            one.add_argument("--after", metavar="TIME", help="then kill: 30s, or never")
    sync = _add(commands, "sync", _lazy("sync"), "bring output that came meanwhile into a notebook")
    sync.add_argument("file", help="an .ipynb file that is not open, or is read again")
    machines = _add(commands, "machines", _lazy("machines"), "what can be rented, with prices")
    machines.add_argument("--gpu", help="with this GPU")
    machines.add_argument("--spot", action="store_true", help="spot only")
    machines.add_argument("--running", action="store_true", help="those that are rented now")


def _add_money(commands: Commands) -> None:
    token = commands.add_parser("token", help="make, list and revoke tokens")
    tokens = token.add_subparsers(metavar="ACTION", required=True)
    create = _add(tokens, "create", _lazy("token_create"), "make a token; it is shown once")
    create.add_argument("--scope", action="append", required=True, help="submit, read, admin, …")
    create.add_argument("--label", default="")
    create.add_argument("--expires", type=float, metavar="S", help="seconds from now")
    _add(tokens, "list", _lazy("token_list"), "tokens of this account")
    revoke = _add(tokens, "revoke", _lazy("token_revoke"), "revoke a token at once")
    revoke.add_argument("id")
    credits = commands.add_parser("credits", help="grants and balance")
    money = credits.add_subparsers(metavar="ACTION", required=True)
    grant = _add(money, "grant", _lazy("credits_grant"), "give credits to an account")
    grant.add_argument("amount", type=float, help="credits; 1 credit is 0.01 USD")
    grant.add_argument("--owner", default="", help="default: yourself")
    grant.add_argument("--key", default="", help="the same key is granted once")
    _add(money, "balance", _lazy("credits_balance"), "what is left, held and spent")


def _add_care(commands: Commands) -> None:
    _add(commands, "doctor", _lazy("doctor"), "look for what is wrong, and how to mend it")
    reap = _add(commands, "reap", _reap, "end workers and cloud machines that nobody needs")
    reap.add_argument(
        "--cloud", action="store_true", help="machines of EC2, too; asked where EC2 is in use"
    )
    reap.add_argument(
        "--now", action="store_true", help="not only those that lived longer than they may"
    )
    whose = reap.add_mutually_exclusive_group()
    whose.add_argument("--backend", default="", metavar="ID", help="of this backend, by its tag")
    whose.add_argument(
        "--all-backends", action="store_true", help="overdue ones of every backend in the account"
    )
    reap.add_argument("--wait", default=600.0, type=float, metavar="S", help="for them to be gone")


def _lazy(name: str) -> Command:
    """A command of :mod:`jupyter_remote.client.commands`, imported when it is called."""

    def command(options: argparse.Namespace) -> int:
        from jupyter_remote.client import commands

        status: int = getattr(commands, name)(options)
        return status

    return command


def _settings() -> Settings:
    from jupyter_remote.settings import load

    return load()


def _serve(options: argparse.Namespace) -> int:
    from jupyter_remote.server.serve import Options, serve

    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    return serve(
        Options(
            embedded=options.embedded,
            host=options.host,
            port=options.port,
            names=tuple(options.name),
            behind_proxy=options.behind_proxy,
            certificate=options.certificate,
            key=options.key,
        ),
        _settings(),
    )


def _worker(options: argparse.Namespace) -> int:
    from jupyter_remote.worker.agent import main as agent_main

    return agent_main(options.config)


def _reap(options: argparse.Namespace) -> int:
    import json

    settings = _settings()
    in_use = "ec2" in settings.providers.replace(" ", "").split(",")
    asked = options.cloud or options.backend or options.all_backends
    machines = _reap_machines(options, settings) if asked or in_use else None
    workers = _reap_workers(settings)
    if options.json:
        answer: dict[str, object] = {"ended": workers}
        if machines is not None:
            answer["machines"] = machines
        sys.stdout.write(json.dumps(answer) + "\n")
    else:
        sys.stdout.write(f"{len(workers)} workers ended\n")
    return int(any(m["due"] and not m["ended"] for m in machines or ()))


def _reap_workers(settings: Settings) -> list[str]:
    import asyncio

    from jupyter_remote import connection
    from jupyter_remote.client.embedded import running
    from jupyter_remote.server.app import reap

    if running(settings) is not None:
        return []  # the backend looks after its workers itself
    return asyncio.run(reap(connection.home_of(settings), settings))


def _reap_machines(options: argparse.Namespace, settings: Settings) -> list[dict[str, Any]]:
    """Each machine that is there, and what became of it; told as it goes unless as JSON."""
    import time

    import msgspec

    from jupyter_remote import connection
    from jupyter_remote.providers.ec2.reaping import Reaper
    from jupyter_remote.providers.identity import known_id

    def tell(line: str) -> None:
        if not options.json:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    home = connection.home_of(settings)
    backend = options.backend or known_id(home)
    if not backend and not options.all_backends:
        tell(f"no backend on {home} had machines elsewhere: --backend ID names another one")
    reaper = Reaper(
        settings,
        backend_id=backend,
        everybody=options.all_backends,
        now=options.now,
    )
    try:
        found = reaper.found()
        for left in found:
            tell(left.line(time.time()))
        found = reaper.end(found, options.wait)
    except OSError as error:
        hint = "Run it again; what was asked to end is ending."
        raise errors.JupyterRemoteError(f"{error}", hint=hint) from None
    finally:
        reaper.close()
    ended = sum(left.ended for left in found)
    tell(f"{len(found)} machines were there, {ended} ended")
    for left in found:
        if left.due and not left.ended:
            tell(f"{left.provider_id} is not said to be terminated yet: look again in a minute")
    return [msgspec.to_builtins(left) for left in found]

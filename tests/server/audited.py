"""Run as a process: a server that notes whatever would touch user data as code."""

from __future__ import annotations

import sys
from pathlib import Path

CODE = ("exec", "compile")
OWN_EVALUATORS = ("/typing.py", "/msgspec/_utils.py", "/dataclasses.py", "/collections/__init__.py")


def main(report: Path, connection_file: Path, arguments: list[str]) -> int:
    """Unpickling is noted always, code from the moment on at which users can send something."""
    import jupyter_remote
    from jupyter_remote.cli import main as run

    own = (sys.prefix, sys.base_prefix, str(Path(jupyter_remote.__file__).parent))
    answering = False

    def hook(event: str, details: tuple[object, ...]) -> None:
        nonlocal answering
        if event not in CODE and event != "pickle.find_class":
            return
        if event in CODE:
            answering = answering or connection_file.exists()
            name = _name(event, details)
            # Modules of the server itself may be imported late, and the annotations of our own
            # types are looked up at their first use; neither is a user's.
            if not answering or name.startswith(own) or _caller().endswith(OWN_EVALUATORS):
                return
        with report.open("a") as file:
            file.write(f"{event} {details!r:.200}\n")

    sys.addaudithook(hook)
    report.write_text("armed\n")
    return run(arguments)


def _caller() -> str:
    """File of the code that asks for it: two frames up, above the hook."""
    return sys._getframe(2).f_code.co_filename


def _name(event: str, details: tuple[object, ...]) -> str:
    if event == "exec":
        return str(getattr(details[0], "co_filename", details[0]))
    return str(details[1])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))

"""Run a notebook and print what its cells printed: ``python notebooks/show.py NOTEBOOK``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient


def text_of(output: nbformat.NotebookNode) -> str:
    """What a terminal can show of one output."""
    if output.output_type == "stream":
        return str(output.text)
    if output.output_type == "error":
        return "\n".join(output.traceback) + "\n"
    data = output.data
    if "image/png" in data and "application/vnd.jupyter-remote.job+json" not in data:
        return f"[figure] {data.get('text/plain', '')}\n"
    return str(data.get("text/plain", "")) + "\n"


def run(path: Path, *, timeout_s: int = 300, allow_errors: bool = False) -> nbformat.NotebookNode:
    """The executed notebook; its kernel is this interpreter."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as sockets:
        # over TCP a kernel prints a warning about encryption into the first output
        manager = AsyncKernelManager(transport="ipc", ip=f"{sockets}/kernel")
        manager.kernel_spec.argv[0] = sys.executable
        NotebookClient(
            notebook,
            km=manager,
            timeout=timeout_s,
            allow_errors=allow_errors,
            resources={"metadata": {"path": str(path.parent)}},
        ).execute(cleanup_kc=True)
    return notebook


def main() -> None:
    notebook = run(Path(sys.argv[1]))
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            print("\n" + cell.source)
            continue
        print("\n" + "\n".join(f"  > {line}" for line in cell.source.splitlines()))
        for output in cell.outputs:
            print(text_of(output), end="")


if __name__ == "__main__":
    main()

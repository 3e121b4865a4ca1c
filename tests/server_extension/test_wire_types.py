"""What the page knows of the backend's types."""

from __future__ import annotations

import importlib.util
from pathlib import Path

LABEXTENSION = Path(__file__).parent.parent.parent / "labextension"


def test_the_types_of_the_page_are_those_of_the_backend():
    spec = importlib.util.spec_from_file_location("generate", LABEXTENSION / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    told = "run python labextension/generate.py"
    assert generate.TARGET.read_text() == generate.generated(), told

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest

from tests.cloud import namespaces
from tests.cloud.simulator import Mode, Simulator, best_mode


def processes_of_machines() -> list[psutil.Process]:
    """Those of any simulated machine on this computer."""
    found = []
    for process in psutil.process_iter():
        try:
            there = process.status() != psutil.STATUS_ZOMBIE
            if there and "SIMULATED_MACHINE" in process.environ():
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """What a test's machines started has ended with them."""
    before = processes_of_machines()
    yield
    assert [p for p in processes_of_machines() if p not in before] == []


@pytest.fixture(params=["processes", "namespaces"])
def mode(request: pytest.FixtureRequest) -> Mode:
    """Every kind of machine that works on this computer."""
    return request.param


@pytest.fixture
def each(mode: Mode, nothing_left: None) -> Iterator[Simulator]:
    """A simulator of each kind."""
    with Simulator(mode) as simulator:
        yield simulator


@pytest.fixture
def cloud(nothing_left: None) -> Iterator[Simulator]:
    """A simulator whose machines are as near to real ones as this computer allows."""
    with Simulator(best_mode()) as simulator:
        yield simulator


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of a kind of machine that this computer cannot have are not there."""
    if namespaces.why_not():
        items[:] = [item for item in items if "[namespaces" not in item.name]

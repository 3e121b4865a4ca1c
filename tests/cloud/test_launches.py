"""Machines and kills of the server: none is doubled, left behind or ended too early."""

from __future__ import annotations

import itertools
import random
import time
from pathlib import Path

from tests.cloud.backend import Backend
from tests.cloud.launches import INSTANCE, POINTS, SETTINGS, Finding, Launches, request_for
from tests.cloud.simulator import Simulator
from tests.cloud.waiting import until

ALONE_S = 3.0


def assert_clean(finding: Finding) -> None:
    told = "\n".join(finding.lines())
    assert finding.twins == {}, told
    assert finding.alive == [], told
    assert finding.late == [], told
    assert finding.early == [], told
    assert set(finding.jobs) == {"succeeded"}, told


def test_kills_at_every_line_leave_no_twin_and_no_machine(tmp_path: Path) -> None:
    lines = [p for p in POINTS if p.action in ("RunInstances", "TerminateInstances")]
    with Launches(tmp_path, seed=1) as launches:
        for point in random.Random(1).sample(lines, 4):
            launches.round(point, at_once=3)
        finding = launches.settle()
    assert finding.launches >= 12
    assert sum(finding.kills.values()) >= 4
    assert_clean(finding)


def test_an_ec2_that_denies_and_fails_and_does_not_answer_leaves_no_machine_either(
    tmp_path: Path,
) -> None:
    with Launches(tmp_path, seed=2) as launches:
        cloud = launches.cloud
        cloud.fleet.visible_after_s = 2.0
        cloud.fail("RunInstances", cut=True, times=2)
        cloud.fail("RunInstances", "RequestLimitExceeded", times=2)
        cloud.fail("TerminateInstances", "InternalError", times=3)
        cloud.fail("DescribeInstances", "RequestLimitExceeded", times=3)
        points = [p for p in POINTS if p.moment == "executed"]
        launches.run(4, itertools.cycle(points), at_once=2)
        launches.lie()
        launches.round(points[0], at_once=2)
        finding = launches.settle()
    assert_clean(finding)


def test_machines_of_a_server_that_is_gone_for_good_all_end_themselves(
    cloud: Simulator, tmp_path: Path
) -> None:
    alone = {"JUPYTER_REMOTE_MACHINE_ALONE_S": str(ALONE_S)}
    backend = Backend(tmp_path, cloud.environment() | SETTINGS | alone)
    backend.environment["JUPYTER_REMOTE_WORKER_URL"] = cloud.proxy(backend.port).url
    backend.start()
    try:
        for type in ("g5.xlarge", "g6.xlarge"):
            backend.submit(request_for(type))
        until(lambda: len(cloud.alive()) == 2)
        # one as far as it comes, one that only just began
        first = cloud.machines[cloud.alive()[0]]
        until(lambda: first.console() or first.processes())
    finally:
        backend.end()
    killed_at = time.time()
    until(lambda: cloud.alive() == [], 30)
    ends = [cloud.witness.when("terminated", id) for id in cloud.witness.instances()]
    assert all(end is not None and end - killed_at < 10 * ALONE_S for end in ends)
    assert cloud.twins(INSTANCE) == {}

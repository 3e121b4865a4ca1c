"""The simulator itself: what the tests of launches rely on, on every kind of machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.cloud import namespaces
from tests.cloud.asking import described, launch, says, served, state
from tests.cloud.machines import remove
from tests.cloud.simulator import Simulator
from tests.cloud.waiting import until

WRITES = """#!/bin/bash
cd "${TMPDIR:-/tmp}"
echo "as $(whoami) with HOME=${HOME-none}"
(setsid sleep 1000 & setsid bash -c 'sleep 1000; true' &)
"""

METADATA = """#!/bin/bash
base=${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}/latest
echo "without: $(curl -s -o /dev/null -w '%{http_code}' "$base/meta-data/instance-id")"
token=$(curl -s -X PUT "$base/api/token" -H 'X-aws-ec2-metadata-token-ttl-seconds: 60')
ask() { curl -s -H "X-aws-ec2-metadata-token: $token" "$base/$1"; }
echo "id: $(ask meta-data/instance-id)"
echo "zone: $(ask meta-data/placement/availability-zone)"
echo "life: $(ask meta-data/instance-life-cycle)"
echo "below: $(ask meta-data/ | tr '\\n' ' ')"
echo "script: $(ask user-data | head -1)"
until ask meta-data/spot/instance-action | grep -q terminate; do sleep 0.05; done
echo "notice: $(ask meta-data/spot/instance-action)"
until ask meta-data/events/recommendations/rebalance | grep -q Time; do sleep 0.05; done
echo "rebalance: $(ask meta-data/events/recommendations/rebalance)"
"""


def test_user_data_is_run_and_its_output_is_the_console(each: Simulator) -> None:
    id = launch(each, WRITES)
    console = says(each, id, "ended with exit status 0")
    assert "as root" in console or os.geteuid() != 0
    expected = "none" if each.mode == "namespaces" else str(each.machines[id].folder / "home")
    assert f"HOME={expected}" in console
    output = each.client("ec2").get_console_output(InstanceId=id)["Output"]
    assert output == console


def test_an_instance_is_pending_then_running_then_shutting_down_then_terminated(
    each: Simulator,
) -> None:
    with each.fleet.standing_still():
        id = launch(each)
        assert state(each, id) == "pending"
    until(lambda: state(each, id) == "running")
    with each.fleet.standing_still():
        each.client("ec2").terminate_instances(InstanceIds=[id])
        assert state(each, id) == "shutting-down"
        assert each.alive() == [id]
    until(lambda: state(each, id) == "terminated")
    assert each.alive() == []
    each.client("ec2").terminate_instances(InstanceIds=[id])  # again is fine, and changes nothing
    assert state(each, id) == "terminated"


def test_terminate_ends_every_process_of_a_machine_also_those_that_left_their_session(
    each: Simulator,
) -> None:
    id = launch(each, WRITES)
    says(each, id, "ended with exit status 0")
    there = until(lambda: p if len(p := each.machines[id].processes()) >= 4 else [])
    each.client("ec2").terminate_instances(InstanceIds=[id])
    until(lambda: each.machines[id].processes() == [])
    until(lambda: not any(map(is_alive, there)))


@pytest.mark.parametrize(
    ("command", "behaviour"),
    [("poweroff", "terminate"), ("systemctl poweroff", "terminate"), ("shutdown -h now", "stop")],
)
def test_a_machine_that_shuts_itself_down_is_terminated_or_only_stopped(
    each: Simulator, behaviour: str, command: str
) -> None:
    script = f"#!/bin/bash\nsetsid sleep 1000 &\n{command}\n"
    id = launch(each, script, InstanceInitiatedShutdownBehavior=behaviour)
    expected = {"terminate": "terminated", "stop": "stopped"}[behaviour]
    until(lambda: state(each, id) == expected)
    assert each.machines[id].processes() == []
    assert each.alive() == ([id] if behaviour == "stop" else [])
    if behaviour == "terminate":
        reason = described(each, id)["StateReason"]
        assert reason["Code"] == "Client.InstanceInitiatedShutdown"


def test_a_timer_of_systemd_run_ends_the_machine_unless_it_is_stopped(each: Simulator) -> None:
    stopped = launch(
        each,
        "#!/bin/bash\nsystemd-run --on-active=1000s --unit=end poweroff\n"
        "systemctl is-active end.timer && systemctl stop end.timer && echo stopped\n",
    )
    ended = launch(each, "#!/bin/bash\nsystemd-run --unit=end --on-active 200ms poweroff\n")
    until(lambda: state(each, ended) == "terminated")
    says(each, stopped, "stopped")
    assert state(each, stopped) == "running"


def test_metadata_needs_a_token_and_tells_of_notice_and_recommendation(each: Simulator) -> None:
    market = {"MarketType": "spot"}
    zone = {"AvailabilityZone": "us-east-1b"}
    id = launch(each, METADATA, InstanceMarketOptions=market, Placement=zone)
    console = says(each, id, "script: #!/bin/bash")
    assert "without: 401" in console
    assert f"id: {id}" in console
    assert "zone: us-east-1b" in console
    assert "life: spot" in console
    assert "instance-type" in console
    with each.fleet.standing_still():
        each.fleet.interrupt(id, notice_s=0.5)
        assert '"action": "terminate"' in says(each, id, "notice: ")
        each.fleet.recommend_rebalance(id)
        says(each, id, "rebalance: {")
    until(lambda: state(each, id) == "terminated")
    assert described(each, id)["StateReason"]["Code"] == "Server.SpotInstanceTermination"


def test_a_machine_sees_the_gpus_of_its_type(each: Simulator) -> None:
    query = "nvidia-smi --query-gpu=name,memory.total --format=csv,noheader,nounits"
    many = launch(each, f"#!/bin/bash\n{query}\n", InstanceType="g5.12xlarge")
    none = launch(each, f"#!/bin/bash\n{query} || echo none\n", InstanceType="m5.large")
    assert says(each, many, "exit status").count("NVIDIA A10G, 22888") == 4
    assert "none" in says(each, none, "exit status")


def test_a_machine_that_is_killed_is_gone_without_a_word(each: Simulator) -> None:
    id = launch(each, WRITES)
    says(each, id, "exit status 0")
    each.fleet.kill(id)
    until(lambda: state(each, id) == "terminated")
    assert each.machines[id].processes() == []
    told = [h.what for h in each.witness.happenings]
    assert told == ["launched", "running", "killed", "terminated"]


def test_a_partition_holds_back_both_directions_until_it_is_healed(
    each: Simulator, tmp_path: Path
) -> None:
    with served(tmp_path) as port:
        proxy = each.proxy(port)
        script = (
            "#!/bin/bash\nwhile :; do"
            f" curl -s -m 3 {proxy.url}/word >/dev/null && echo reached || echo cut;"
            " sleep 0.05; done\n"
        )
        id, other = launch(each, script), launch(each, script)
        says(each, id, "reached")
        each.machines[id].partition()
        says(each, id, "cut")
        quiet = says(each, id, "cut\ncut").count("reached")
        before = each.machines[other].console().count(b"reached")
        until(lambda: each.machines[other].console().count(b"reached") > before + 3)
        assert each.machines[id].console().count(b"reached") <= quiet + 1
        each.machines[id].heal()
        until(lambda: each.machines[id].console().count(b"reached") > quiet + 1)


def test_files_of_a_machine_are_its_own(cloud: Simulator) -> None:
    if cloud.mode != "namespaces":
        return
    script = "#!/bin/bash\necho here > /etc/simulated-file; ls -d /etc/simulated-file; ls " + str(
        namespaces.PROJECT
    )
    console = says(cloud, launch(cloud, script), "exit status")
    assert "/etc/simulated-file\n" in console
    assert "pyproject.toml" not in console
    assert not Path("/etc/simulated-file").exists()


def test_a_simulator_that_is_killed_takes_its_machines_along(mode: str, nothing_left: None) -> None:
    program = (
        "from tests.cloud.simulator import Simulator\n"
        "from tests.cloud.asking import launch, says\n"
        "from tests.cloud.test_machines import WRITES\n"
        f"cloud = Simulator({mode!r})\n"
        "id = launch(cloud, WRITES)\n"
        "says(cloud, id, 'exit status 0')\n"
        "print(id, cloud.machines[id].folder.parent, flush=True)\n"
        "import time; time.sleep(100)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child.stdout as told:
        id, folder = told.readline().split()

    def there() -> list[psutil.Process]:
        return [p for p in psutil.process_iter() if mark_of(p) == id]

    try:
        until(lambda: len(there()) >= 4)
    finally:
        child.kill()
        child.wait(10)
    until(lambda: there() == [])
    remove(Path(folder))  # all that it leaves


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def mark_of(process: psutil.Process) -> str:
    """The id of the machine that it belongs to."""
    try:
        return str(process.environ().get("SIMULATED_MACHINE", ""))
    except psutil.Error:
        return ""

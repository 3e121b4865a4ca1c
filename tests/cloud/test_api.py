"""The simulated API: what it does beyond moto, asked through boto3."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from botocore.exceptions import ClientError, HTTPClientError

from tests.cloud.asking import launch, state
from tests.cloud.simulator import Simulator
from tests.cloud.waiting import until

TAG = "intent"


class NoMachine:
    """Nothing runs behind the instance."""

    def __init__(self, metadata: Any, folder: object, gpus: object) -> None:
        self.id, self.metadata = metadata.instance.id, metadata

    def boot(self, on_end: Callable[[], None]) -> None:
        pass

    kill = partition = heal = lambda self: None

    def console(self) -> bytes:
        return b""

    def processes(self) -> list[Any]:
        return []


@pytest.fixture
def api() -> Iterator[Simulator]:
    with Simulator("processes", make=NoMachine) as simulator:
        yield simulator


@pytest.fixture
def once(api: Simulator) -> Iterator[Any]:
    """A client that tries once."""
    options = {"retries": {"total_max_attempts": 1}, "read_timeout": 60}
    with closing(api.client("ec2", **options)) as client:
        yield client


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(ClientError) as refused:
        call()
    return str(refused.value.response["Error"]["Code"])


def run(client: Any, api: Simulator, token: str = "", **more: Any) -> str:
    how = {"ImageId": api.front.image, "InstanceType": "g5.xlarge", "MinCount": 1, "MaxCount": 1}
    tags = [{"ResourceType": "instance", "Tags": [{"Key": TAG, "Value": token}]}]
    if token:
        how |= {"ClientToken": token, "TagSpecifications": tags}
    return str(client.run_instances(**{**how, **more})["Instances"][0]["InstanceId"])


def listed(client: Any) -> list[str]:
    found = client.describe_instances()["Reservations"]
    return [instance["InstanceId"] for r in found for instance in r["Instances"]]


def test_the_same_token_launches_once_and_other_arguments_with_it_are_refused(api, once):
    first = run(once, api, "a")
    assert run(once, api, "a") == first
    assert run(once, api, "b") != first
    mismatch = refusal(lambda: run(once, api, "a", InstanceType="g6.xlarge"))
    assert mismatch == "IdempotentParameterMismatch"
    assert len(api.alive()) == 2


def test_a_refused_launch_uses_up_no_token(api, once):
    api.fail("RunInstances", "VcpuLimitExceeded")
    assert refusal(lambda: run(once, api, "a")) == "VcpuLimitExceeded"
    assert run(once, api, "a") == api.alive()[0]


def test_capacity_can_lack_in_one_zone_of_one_type_on_spot_only(api, once):
    fault = api.fail(
        "RunInstances",
        "InsufficientInstanceCapacity",
        times=None,
        zone="us-east-1a",
        type="g5.xlarge",
        spot=True,
    )
    spot = {"InstanceMarketOptions": {"MarketType": "spot"}}
    here, there = ({"Placement": {"AvailabilityZone": f"us-east-1{z}"}} for z in "ab")
    for _ in range(2):
        refused = refusal(lambda: run(once, api, **here, **spot))
        assert refused == "InsufficientInstanceCapacity"
    assert run(once, api, **there, **spot)
    assert run(once, api, **here)
    assert run(once, api, InstanceType="g6.xlarge", **here, **spot)
    assert fault.seen == 2


def test_the_zone_of_a_launch_is_also_that_of_its_subnet(api, once):
    found = once.describe_subnets()["Subnets"]
    subnet = next(s["SubnetId"] for s in found if s["AvailabilityZone"] == "us-east-1c")
    api.fail("RunInstances", "InsufficientInstanceCapacity", zone="us-east-1c")
    assert refusal(lambda: run(once, api, SubnetId=subnet)) == "InsufficientInstanceCapacity"


@pytest.mark.parametrize("code", ["RequestLimitExceeded", "UnauthorizedOperation"])
def test_any_call_can_be_refused_so_often(api, once, code):
    api.fail("DescribeInstances", code, times=2)
    assert [refusal(once.describe_instances) for _ in range(2)] == [code, code]
    assert listed(once) == []


def test_boto3_tries_again_where_it_is_throttled(api):
    fault = api.fail("DescribeInstances", "RequestLimitExceeded", times=2)
    assert listed(api.client("ec2")) == []
    assert fault.seen == 2


def test_a_call_can_be_executed_without_an_answer(api, once):
    api.fail("RunInstances", cut=True)
    with pytest.raises(HTTPClientError):
        run(once, api, "a")
    assert run(once, api, "a") == api.alive()[0]
    assert api.twins(TAG) == {}


def test_the_witness_finds_twins(api, once):
    one = run(once, api, "a")
    tags = [{"ResourceType": "instance", "Tags": [{"Key": TAG, "Value": "a"}]}]
    two = run(once, api, "b", TagSpecifications=tags)
    assert api.twins(TAG) == {"a": [one, two]}


def test_a_launch_is_seen_late(api, once):
    api.fleet.visible_after_s = math.inf
    id = run(once, api, "a")
    assert listed(once) == []
    assert refusal(lambda: once.describe_instances(InstanceIds=[id])).endswith(".NotFound")
    assert refusal(lambda: once.terminate_instances(InstanceIds=[id])).endswith(".NotFound")
    api.fleet.show(id)
    assert listed(once) == [id]
    assert api.alive() == [id]


def test_an_instance_can_be_denied_though_it_runs(api, once):
    id, other = run(once, api, "a"), run(once, api, "b")
    api.fleet.hide(id)
    assert listed(once) == [other]
    assert refusal(lambda: once.describe_instances(InstanceIds=[id])).endswith(".NotFound")
    api.fleet.show(id)
    assert set(listed(once)) == {id, other}


def test_an_instance_can_be_denied_for_a_while(api, once):
    id = run(once, api, "a")
    api.fleet.hide(id, math.inf)
    assert listed(once) == []
    api.fleet.hide(id, 0.0)
    assert listed(once) == [id]


def test_what_ended_is_described_for_a_while_and_then_no_more(api, once):
    id, other = run(once, api, "a"), run(once, api, "b")
    once.terminate_instances(InstanceIds=[id])
    until(lambda: state(api, id) == "terminated")
    api.fleet.forgotten_after_s = 0.0
    assert listed(once) == [other]
    assert refusal(lambda: once.describe_instances(InstanceIds=[id])).endswith(".NotFound")
    assert refusal(lambda: once.terminate_instances(InstanceIds=[id])).endswith(".NotFound")
    assert api.intents(TAG) == {id: "a", other: "b"}
    assert [machine.id for machine in api.fleet.there()] == [other]


def test_instances_are_found_by_their_tags_among_others(api, once):
    ids = {token: run(once, api, token) for token in ("one", "once", "two")}
    for pattern, tokens in (("one", {"one"}), ("on*", {"one", "once"}), ("none", set())):
        filters = [{"Name": f"tag:{TAG}", "Values": [pattern]}]
        found = once.describe_instances(Filters=filters)["Reservations"]
        assert {i["InstanceId"] for r in found for i in r["Instances"]} == {ids[t] for t in tokens}
    tags = once.describe_tags(Filters=[{"Name": "resource-id", "Values": [ids["two"]]}])["Tags"]
    assert [(tag["Key"], tag["Value"]) for tag in tags] == [(TAG, "two")]


def test_terminate_can_fail_and_ends_nothing_then(api, once):
    id = run(once, api)
    until(lambda: state(api, id) == "running")
    api.fail("TerminateInstances", "InternalError")
    assert refusal(lambda: once.terminate_instances(InstanceIds=[id])) == "InternalError"
    assert state(api, id) == "running"
    once.terminate_instances(InstanceIds=[id])
    until(lambda: api.alive() == [])


def test_what_happens_around_a_call_can_be_watched(api, once):
    told: list[tuple[str, int]] = []
    for moment in ("called", "executed", "answered"):
        api.at(moment, "RunInstances", lambda _, m=moment: told.append((m, len(api.alive()))))
    run(once, api)
    until(lambda: len(told) == 3)
    assert told == [("called", 0), ("executed", 1), ("answered", 1)]


def test_an_instance_remembers_its_token_tags_and_disk(api, once):
    id = run(once, api, "a")
    [found] = once.describe_instances(Filters=[{"Name": f"tag:{TAG}", "Values": ["a"]}])[
        "Reservations"
    ]
    [instance] = found["Instances"]
    assert (instance["InstanceId"], instance["ClientToken"]) == (id, "a")
    [image] = once.describe_images(ImageIds=[api.front.image])["Images"]
    assert image["BlockDeviceMappings"][0]["DeviceName"] == image["RootDeviceName"]


def test_spot_prices_are_told_by_zone_and_can_change(api, once):
    api.prices.set_spot("g5.xlarge", "us-east-1a", 0.9)
    found = once.describe_spot_price_history(InstanceTypes=["g5.xlarge"])["SpotPriceHistory"]
    prices = {row["AvailabilityZone"]: float(row["SpotPrice"]) for row in found}
    assert prices == {"us-east-1a": 0.9, "us-east-1b": 0.4024, "us-east-1c": 0.4426}


def test_prices_on_demand_and_public_images_are_told(api):
    with closing(api.client("pricing")) as pricing:
        listed = pricing.get_products(ServiceCode="AmazonEC2")["PriceList"]
    assert any('"g5.xlarge"' in product and "1.006" in product for product in listed)
    with closing(api.client("ssm")) as ssm:
        found = ssm.get_parameter(Name="/aws/service/deeplearning/latest/ami-id")
    assert found["Parameter"]["Value"] == api.front.image


def test_buckets_are_there_too(api):
    with closing(api.client("s3")) as s3:
        s3.create_bucket(Bucket="simulated")
        s3.put_object(Bucket="simulated", Key="a", Body=b"bytes")
        assert s3.get_object(Bucket="simulated", Key="a")["Body"].read() == b"bytes"


def test_each_simulator_begins_with_nothing(api, once):
    launch(api)
    assert listed(once)
    with Simulator("processes", make=NoMachine) as other, closing(other.client("ec2")) as client:
        assert listed(client) == []

"""What a region offers, where, and at which price."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from jupyter_remote.errors import LaunchRefused
from jupyter_remote.model import MachineType
from jupyter_remote.money.catalog import PRICED_ON, catalogue
from jupyter_remote.providers.ec2.kept import ERROR_S, Kept
from jupyter_remote.providers.ec2.provider import Ec2Provider
from jupyter_remote.settings import Settings
from tests.providers.aws import Answers

TODAY = datetime.now(UTC).date().isoformat()


def spot_history(*rows: tuple[str, str, str, str]) -> str:
    items = "".join(
        f"<item><instanceType>{type}</instanceType><spotPrice>{usd}</spotPrice>"
        f"<availabilityZone>{zone}</availabilityZone><timestamp>{at}</timestamp></item>"
        for type, zone, usd, at in rows
    )
    return (
        '<DescribeSpotPriceHistoryResponse xmlns="x">'
        f"<spotPriceHistorySet>{items}</spotPriceHistorySet></DescribeSpotPriceHistoryResponse>"
    )


def priced(type: str, *usd: str) -> str:
    """A product as the price list has it: JSON within JSON."""
    dimensions = {
        str(i): {"unit": "Hrs", "pricePerUnit": {"USD": price}} for i, price in enumerate(usd)
    }
    terms = {"OnDemand": {"t": {"priceDimensions": dimensions}}}
    return json.dumps({"product": {"attributes": {"instanceType": type}}, "terms": terms})


def by_id(provider: Ec2Provider) -> dict[str, MachineType]:
    return {machine.id: machine for machine in provider.machines()}


@pytest.fixture
def spot(provider: Ec2Provider) -> Answers:
    answers = Answers(provider._clients, "ec2", "DescribeSpotPriceHistory")
    return answers.is_text(
        spot_history(
            ("g5.xlarge", "us-east-1a", "0.52", "2026-01-02T00:00:00Z"),
            ("g5.xlarge", "us-east-1b", "0.40", "2026-01-02T00:00:00Z"),
            ("g5.xlarge", "us-east-1b", "0.10", "2026-01-01T00:00:00Z"),  # held until then
            ("p5.4xlarge", "us-east-1a", "2.5", "2026-01-02T00:00:00Z"),
        )
    )


@pytest.fixture
def price_list(provider: Ec2Provider) -> Answers:
    return Answers(provider._clients, "pricing", "GetProducts", "us-east-1")


def test_machines_are_those_of_the_catalogue_and_no_simulation(provider: Ec2Provider):
    machines = provider.machines()
    assert {m.id for m in machines} <= {m.id for m in catalogue()} | {"p5.4xlarge"}
    assert {"g5.xlarge", "g5.xlarge.od"} <= {m.id for m in machines}
    assert not any(m.simulated for m in machines)
    gpu = next(m for m in machines if m.id == "g5.xlarge.od")
    assert (gpu.gpu, gpu.gpu_count, gpu.cpus, gpu.provider) == ("A10G", 1, 4.0, "ec2")


async def test_a_type_that_the_region_lacks_is_not_offered(settings: Settings):
    provider = Ec2Provider(msgspec.structs.replace(settings, ec2_region="eu-central-1"), "b")
    offered = by_id(provider)
    assert "g5.xlarge.od" in offered
    assert "p5.48xlarge.od" not in offered
    assert provider.zones("p5.48xlarge.od") == []
    await provider.close()


def test_spot_prices_are_the_range_over_the_zones_today(provider: Ec2Provider, spot: Answers):
    machine = by_id(provider)["g5.xlarge"]
    assert (machine.usd_per_h_low, machine.usd_per_h, machine.spot) == (0.40, 0.52, True)
    assert machine.priced_on == TODAY
    assert machine.source == "AWS spot price history, us-east-1"


def test_a_type_without_a_spot_price_is_not_offered_as_spot(provider: Ec2Provider, spot: Answers):
    offered = by_id(provider)
    assert "g6.xlarge" not in offered
    assert "g6.xlarge.od" in offered


def test_a_type_that_has_become_spot_is_offered_so(provider: Ec2Provider, spot: Answers):
    machine = by_id(provider)["p5.4xlarge"]
    assert (machine.usd_per_h, machine.spot, machine.gpu) == (2.5, True, "H100")


def test_on_demand_prices_are_those_of_the_region(
    provider: Ec2Provider, spot: Answers, price_list: Answers
):
    products = [priced("g5.xlarge", "0", "1.2340"), priced("g6.xlarge", "1", "2"), priced("x", "3")]
    price_list.is_text(json.dumps({"PriceList": products}))
    offered = by_id(provider)
    assert offered["g5.xlarge.od"].usd_per_h == offered["g5.xlarge.od"].usd_per_h_low == 1.234
    assert offered["g5.xlarge.od"].priced_on == TODAY
    assert offered["g5.xlarge.od"].source == "AWS price list, us-east-1"
    assert offered["g5.xlarge"].usd_per_h == 0.52
    assert offered["g6.xlarge.od"].priced_on == PRICED_ON  # of two prices none is known to hold
    wanted = {f["Field"]: f["Value"] for f in price_list.asked[0]["Filters"]}
    assert wanted["regionCode"] == "us-east-1"
    assert "g5.xlarge" in wanted["instanceType"].split(",")


def test_prices_that_may_not_be_read_are_those_of_the_catalogue_with_their_date(
    provider: Ec2Provider, spot: Answers, price_list: Answers
):
    spot.is_error("UnauthorizedOperation", "You are not authorized.", 403)
    price_list.is_error("AccessDeniedException", "User is not authorized")
    for machine in provider.machines():
        assert machine.priced_on == PRICED_ON
        assert "us-east-1" in machine.source


def test_a_price_that_cannot_be_is_passed_over(provider: Ec2Provider, spot: Answers):
    spot.is_text(spot_history(("g5.xlarge", "us-east-1a", "0", "2026-01-02T00:00:00Z")))
    assert by_id(provider)["g5.xlarge"].priced_on == PRICED_ON


def test_prices_are_asked_for_once_in_a_while(provider: Ec2Provider, spot: Answers):
    provider.machines()
    provider.machines()
    assert len(spot.asked) == 1


def test_zones_of_spot_are_the_cheapest_first(provider: Ec2Provider, spot: Answers):
    zones = provider.zones("g5.xlarge")
    assert zones[:2] == ["us-east-1b", "us-east-1a"]
    assert provider.zones("g5.xlarge.od") == sorted(zones)


def test_a_type_that_nobody_has_is_in_no_zone(provider: Ec2Provider):
    assert provider.zones("g99.xlarge") == []


async def test_without_credentials_it_is_said_at_once_and_not_asked_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    provider = Ec2Provider(settings, "b")
    asked = Answers(provider._clients, "ec2", "DescribeInstanceTypeOfferings").asked
    for _ in range(2):
        with pytest.raises(LaunchRefused, match="No credentials for AWS were found") as refused:
            provider.machines()
        assert refused.value.kind == "credentials"
        assert refused.value.__traceback__ is not None
    assert len(asked) == 1
    await provider.close()
    Answers.undo_all()


# -- answers that are kept
class Source:
    def __init__(self) -> None:
        self.asked = 0
        self.answer: Any = 1

    def __call__(self) -> Any:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_an_answer_is_kept_for_its_time_and_an_error_for_a_shorter_one():
    source, now = Source(), [0.0]
    kept = Kept(source, 100.0, lambda: now[0])
    assert (kept.get(), kept.get(), source.asked) == (1, 1, 1)
    now[0] = 100.0
    source.answer = LaunchRefused("no", hint="do", kind="rights")
    for _ in range(2):
        with pytest.raises(LaunchRefused) as refused:
            kept.get()
        assert (refused.value.message, refused.value.hint, refused.value.kind) == (
            *("no", "do"),
            "rights",
        )
    assert source.asked == 2
    now[0] += ERROR_S
    source.answer = ConnectionError("away")
    with pytest.raises(OSError, match="away"):
        kept.get()
    now[0] += ERROR_S
    source.answer = 2
    assert (kept.get(), source.asked) == (2, 4)


def test_an_error_that_nobody_foresaw_is_not_kept():
    source = Source()
    source.answer = KeyError("x")
    kept = Kept(source, 100.0, lambda: 0.0)
    with pytest.raises(KeyError):
        kept.get()
    source.answer = 3
    assert kept.get() == 3

import math
from datetime import date

import msgspec
import pytest

from jupyter_remote.errors import UnknownMachine
from jupyter_remote.money import catalog
from jupyter_remote.wire import Need

ALL = catalog.simulated(catalog.catalogue())


def test_every_priced_row_says_when_and_where_its_price_was_read():
    assert all(m.priced_on and m.source for m in ALL if m.id != "local")


def test_ids_are_unique_and_on_demand_ids_end_in_od():
    ids = [m.id for m in ALL]
    assert len(ids) == len(set(ids))
    assert all(m.spot != m.id.endswith(".od") for m in ALL if m.id != "local")


def test_only_this_computer_is_not_simulated():
    assert [m.id for m in ALL if not m.simulated] == ["local"]


def test_without_a_need_this_computer_is_chosen():
    assert catalog.choose(Need(), ALL).id == "local"


def test_a_gpu_is_found_whatever_its_case_and_the_cheapest_wins():
    assert catalog.choose(Need(gpu="a10g"), ALL).id == "g5.xlarge"


def test_several_gpus_need_a_machine_that_has_them():
    assert catalog.choose(Need(gpu="A10G", gpu_count=2), ALL).id == "g5.12xlarge"


def test_an_unknown_machine_names_the_nearest():
    with pytest.raises(UnknownMachine, match=r"g5\.xlarge"):
        catalog.choose(Need(machine="g5.xlrage"), ALL)


def test_an_unknown_gpu_lists_the_known_ones():
    with pytest.raises(UnknownMachine, match="A10G"):
        catalog.choose(Need(gpu="A10"), ALL)


def test_a_need_that_nothing_meets_says_what_was_asked_for():
    with pytest.raises(UnknownMachine, match="1000 cores"):
        catalog.choose(Need(cpus=1000), ALL)


def test_a_machine_that_lacks_what_is_asked_for_beside_it_is_refused():
    for need in (
        Need(machine="local", gpu="A10G"),
        Need(machine="g5.xlarge", gpu="A10G", gpu_count=2),
        Need(machine="g5.xlarge", cpus=64),
        Need(machine="g5.xlarge", memory_bytes=64 << 30),
    ):
        with pytest.raises(UnknownMachine, match="does not have") as error:
            catalog.choose(need, ALL)
        assert "Leave --machine out" in error.value.hint
    assert catalog.choose(Need(machine="g5.xlarge", gpu="a10g"), ALL).id == "g5.xlarge"


NOW = date(2026, 3, 1)
G5 = next(m for m in ALL if m.id == "g5.xlarge")


def row(**changes):
    return msgspec.structs.replace(
        G5, priced_on="2026-02-28", source="the provider", simulated=False, **changes
    )


def test_a_provider_renews_prices_and_adds_types():
    cheaper, new = row(usd_per_h=0.30, usd_per_h_low=0.28), row(id="g7.xlarge")
    found = catalog.refreshed(ALL, [cheaper, new], NOW)
    by_id = {m.id: m for m in found.machines}
    assert found.refused == []
    assert (by_id["g5.xlarge"].usd_per_h, by_id["g5.xlarge"].priced_on) == (0.30, "2026-02-28")
    assert by_id["g5.xlarge"].simulated
    assert not by_id["g7.xlarge"].simulated
    assert found.machines[0].id == "local"
    prices = [m.usd_per_h for m in found.machines]
    assert prices == sorted(prices)
    assert len(found.machines) == len(ALL) + 1


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"usd_per_h": -0.1}, "-0.1 is no price"),
        ({"usd_per_h": math.nan}, "nan is no price"),
        ({"usd_per_h": math.inf}, "inf is no price"),
        ({"usd_per_h": 1e9}, "1000000000.0 is no price"),
        ({"usd_per_h_low": math.nan}, "nan is no price"),
        ({"usd_per_h": 0.0, "usd_per_h_low": 0.0}, "no range"),
        ({"usd_per_h_low": 9.0}, "no range"),
        ({"cpus": math.nan}, "no amounts"),
        ({"memory_bytes": 0}, "no amounts"),
        ({"id": "local"}, "no provider"),
        ({"id": ""}, "no provider"),
    ],
)
def test_a_row_that_cannot_be_true_is_refused(changes, why):
    found = catalog.refreshed(ALL, [row(**changes)], NOW)
    assert [why in told for told in found.refused] == [True]
    assert found.machines == list(ALL)


@pytest.mark.parametrize("day", ["", "yesterday", "2026-03-05"])
def test_a_price_needs_a_day_that_has_been_and_a_source(day):
    dateless = msgspec.structs.replace(row(), priced_on=day)
    assert catalog.refreshed(ALL, [dateless], NOW).refused
    assert catalog.refreshed(ALL, [msgspec.structs.replace(row(), source="")], NOW).refused


def test_an_older_price_changes_nothing():
    older = msgspec.structs.replace(row(usd_per_h=0.1, usd_per_h_low=0.1), priced_on="2024-01-01")
    assert catalog.refreshed(ALL, [older], NOW).machines == list(ALL)


def test_a_price_is_old_after_ninety_days():
    assert catalog.age_days(G5, date(2025, 11, 16)) == 1
    assert not catalog.is_old(G5, date(2026, 2, 13))
    assert catalog.is_old(G5, date(2026, 2, 14))
    assert not catalog.is_old(catalog.local_machine(), NOW)


@pytest.mark.parametrize("usd", [float("nan"), float("inf"), -0.01, 1e9])
def test_a_row_without_a_sound_price_is_told_and_left_out(usd, caplog):
    good, bad = catalog.catalogue()[:2]
    for field in ("usd_per_h", "usd_per_h_low"):
        odd = msgspec.structs.replace(bad, **{field: usd})
        caplog.clear()
        assert catalog.sound([good, odd]) == [good]
        assert f"{bad.id} is priced at" in caplog.text
        with pytest.raises(UnknownMachine, match="which cannot be"):
            catalog.check_price(odd)
    assert catalog.sound([good, bad]) == [good, bad]

"""The table of ``%remote machines``."""

from datetime import date

import pytest

from jupyter_remote.errors import UsageError
from jupyter_remote.money import catalog
from jupyter_remote.notebook.commands_machines import COMMANDS, table_of
from jupyter_remote.wire import MachineList

ALL = catalog.simulated(catalog.catalogue())
LISTED = MachineList(ALL, {"local": 1}, {"local": 2})
SOON, LATE = date(2025, 12, 1), date(2026, 12, 1)


def table(line="", listed=LISTED, today=SOON):
    given, _ = COMMANDS[0].parser().parse(line)
    return table_of(listed, given, today)


def names(line=""):
    return [row[0] for row in table(line).rows]


def test_all_machines_are_listed_by_their_price():
    prices = [m.usd_per_h for m in ALL]
    assert names() == [m.id for m in ALL]
    assert prices == sorted(prices)
    assert len(names("--sort name")) == len(ALL)


def test_the_order_can_be_chosen():
    assert names("--sort name")[:3] == ["local", "g4dn.xlarge", "g4dn.xlarge.od"]
    assert names("--sort memory")[-1] == "p6-b200.48xlarge.od"
    assert names("--sort gpu")[0] == "p4d.24xlarge"
    with pytest.raises(UsageError, match="there is no order 'size'"):
        names("--sort size")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("--gpu t4", ["g4dn.xlarge", "g4dn.xlarge.od"]),
        ("--gpu A10G:2", ["g5.12xlarge", "g5.12xlarge.od"]),
        ("--gpu A10G --spot --max-price 1", ["g5.xlarge"]),
        ("--gpu L4 --on-demand --max-price $1", ["g6.xlarge.od"]),
        ("--cpus 64 --max-price 5 --memory 1TB", []),
        ("--memory 2000GB --max-price 20", ["p5en.48xlarge"]),
    ],
)
def test_machines_can_be_filtered(line, found):
    assert names(line) == found


def test_what_is_free_now_is_told_and_simulated_machines_share_the_slots_of_this_computer():
    free = {row[0]: row[6] for row in table().rows}
    assert set(free.values()) == {"1 of 2 slots"}
    none = table(listed=MachineList(ALL))
    assert {row[6] for row in none.rows} == {"starts when needed"}


def test_source_and_day_of_the_prices_are_told_and_old_ones_are_marked():
    assert "as of 2025-11-15 (Amazon EC2 public price list, us-east-1)" in table().note
    assert table().rows[1][-1] == "simulated"
    old = table(today=LATE)
    assert old.rows[1][-1] == "simulated, old price"
    assert old.rows[0][-1] == ""
    assert "as of 2025-11-15, 381 days ago" in old.note

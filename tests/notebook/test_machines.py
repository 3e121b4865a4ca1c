"""The table of ``%remote machines``."""

from datetime import date

import pytest

from jupyter_remote.errors import UsageError
from jupyter_remote.money import catalog
from jupyter_remote.notebook.commands_machines import (
    COMMANDS,
    _meant,
    table_of,
    table_of_instances,
)
from jupyter_remote.wire import InstanceView, MachineList

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


def instance(id, state="ready", **changes):
    fields = {"provider": "ec2", "machine": "g5.xlarge", "usd_per_h": 0.44, "zone": "a"}
    return InstanceView(id=id, state=state, **{**fields, **changes})


RENTED = [
    instance("ec2-3", "pending", step="installing the worker", job="0123456789ab"),
    instance("ec2-2", spot=True, slots=4, busy=3),
    instance("ec2-1", ready_at=1.0, slots=1, ends_at=1240.0),
    instance("ec2-0", "terminating", step="installing"),
]


def test_rented_machines_are_listed_with_what_they_do_and_cost():
    shown = table_of_instances(RENTED, now=1000.0)
    assert [row[4] for row in shown.rows] == [
        "pending, installing the worker",
        "ready, 3 of 4 slots busy",
        "ready, idle, ends in 4 min",
        "terminating",
    ]
    assert shown.rows[0][-1] == "01234567"
    assert [row[2] for row in shown.rows[:2]] == ["on demand", "spot"]
    assert shown.note == "4 machines are there now, for $1.76/h"
    none = table_of_instances([], now=0.0)
    assert (none.empty, none.note) == ("no machine is rented now", "")


def test_what_is_rented_and_what_cannot_be_asked_is_said_under_the_list():
    given, _ = COMMANDS[0].parser().parse("")
    listed = MachineList(ALL, problems=["ec2: No credentials.\nRun aws configure."])
    note = table_of(listed, given, SOON, RENTED[:1]).note
    assert "1 machine is there now, for $0.44/h: %remote machines --running" in note
    assert note.endswith("ec2: No credentials. Run aws configure.")


def test_a_machine_to_be_ended_is_named_by_the_beginning_of_its_id():
    assert _meant("ec2-2", RENTED) == "ec2-2"
    with pytest.raises(UsageError, match="several machines begin with 'ec2'"):
        _meant("ec2", RENTED)
    with pytest.raises(UsageError, match="no machine that is there"):
        _meant("ec2-9", [*RENTED, instance("ec2-9", "terminated")])

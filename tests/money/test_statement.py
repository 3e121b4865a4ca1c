from jupyter_remote.model import Entry
from jupyter_remote.money.statement import Line, lines


def entry(id: int, account: str, kind: str, amount: int, after: int, job: str = "j") -> Entry:
    return Entry(
        id=id,
        at=float(id // 2),
        account=f"{account}:ada",
        kind=kind,
        amount_ucredits=amount,
        job=job or None,
        balance_ucredits=after,
        description="train" if job else "",
    )


NEWEST_FIRST = [
    entry(9, "available", "release", 6, 98),
    entry(8, "held", "release", -6, 0),
    entry(6, "held", "capture", -2, 6),
    entry(5, "held", "hold", 8, 8),
    entry(4, "available", "hold", -8, 92),
    entry(3, "available", "grant", 100, 100, job=""),
]


def test_each_move_of_money_is_one_line_in_plain_words():
    told = [
        (line.what, line.ucredits, line.available_ucredits, line.held_ucredits)
        for line in lines(NEWEST_FIRST)
    ]
    assert told == [
        ("given back", 6, 98, 0),
        ("charged", 2, 92, 6),
        ("held", 8, 92, 8),
        ("granted", 100, 100, None),
    ]


def test_a_line_says_which_job_it_was():
    assert lines(NEWEST_FIRST)[1] == Line(
        at=3.0,
        what="charged",
        ucredits=2,
        available_ucredits=92,
        held_ucredits=6,
        job="j",
        description="train",
    )
    assert lines(NEWEST_FIRST)[-1].job == ""


def test_a_list_that_was_cut_in_the_middle_of_a_move_is_shown_as_far_as_it_is_known():
    told = lines(NEWEST_FIRST[:4])
    assert [line.what for line in told] == ["given back", "charged", "held"]
    assert (told[-1].available_ucredits, told[-1].held_ucredits) == (None, 8)
    assert lines([]) == []


def test_a_kind_that_is_not_known_here_is_shown_as_it_is():
    assert lines([entry(3, "available", "gift_card", 1, 1)])[0].what == "gift card"

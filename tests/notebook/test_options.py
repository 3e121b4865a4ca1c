from __future__ import annotations

from types import SimpleNamespace

import pytest

from jupyter_remote.errors import UsageError
from jupyter_remote.notebook import asking, quantities, run
from jupyter_remote.notebook.context import Context
from jupyter_remote.notebook.options import (
    RUN_OPTIONS,
    RUN_PARSER,
    HelpAsked,
    RunOptions,
    run_options,
)


def read(line: str, **defaults: object):
    given, _ = RUN_PARSER.parse(line)
    return run_options(given, defaults)


def test_a_line_with_every_option_is_read():
    options = read(
        "-m g5.xlarge.od --memory 16GB -i a,b -o c --bg -n job --max-cost 0.50 --timeout 1.5h "
        "--retries 2 -d 'a first cell' --visibility unlisted --files a.csv b.csv -q -y --env none"
    )
    assert options.machine == "g5.xlarge.od"
    assert options.memory == 16 * 1024**3
    assert (options.inputs, options.outputs) == (["a", "b"], ["c"])
    assert (options.bg, options.name, options.quiet, options.yes) == (True, "job", True, True)
    assert (options.max_cost, options.timeout, options.retries) == (0.5, 5400.0, 2)
    assert options.description == "a first cell"
    assert options.files == ["a.csv", "b.csv"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("1.5h", 5400), ("2h30m", 9000)],
)
def test_times_are_read(text, seconds):
    assert quantities.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-3s", "0", "2x", "h", "1h x", "inf", "nan"])
def test_what_is_not_a_time_is_refused(text):
    with pytest.raises(UsageError):
        quantities.seconds(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("16GB", 16 << 30), ("512MB", 512 << 20), ("1.5GiB", 3 << 29), ("4g", 4 << 30)],
)
def test_memory_is_read(text, size):
    assert quantities.memory_bytes(text) == size


def test_a_gpu_has_a_name_and_a_count():
    assert read("--gpu A10G:2").gpu == ("A10G", 2)
    assert read("--gpu T4").gpu == ("T4", 1)
    for wrong in ("A10G:", "A10G:0", "A10G:x", ":2"):
        with pytest.raises(UsageError, match="--gpu"):
            read(f"--gpu {wrong}")


def test_a_wrong_option_names_the_nearest_and_all_that_are_valid():
    with pytest.raises(UsageError) as raised:
        read("--machin g5.xlarge")
    text = str(raised.value)
    assert "did you mean --machine?" in text
    assert all(flag in text for option in RUN_OPTIONS for flag in option.flags)


@pytest.mark.parametrize(
    "line",
    [
        "--timeout",
        "--timeout soon",
        "--memory much",
        "--max-cost nothing",
        "--max-cost -1",
        "--retries -1",
        "--retries 1.5",
        "--visibility secret",
        "--bg=1",
        "-i a-b",
        "-n a,b",
        "-d 'open",
        "word",
    ],
)
def test_wrong_values_are_refused(line):
    with pytest.raises(UsageError):
        read(line)


def test_a_job_to_go_on_from_is_named_by_its_id():
    assert read("--resume 1f3a").resume == "1f3a"


def test_packages_are_those_that_the_code_imports_or_of_the_worker_or_of_a_file():
    assert [read(line).env for line in ("", "--env auto", "--env none")] == [None, "auto", "none"]
    assert read("--env requirements.txt").env == "requirements.txt"
    assert run_options({"env": "none"}, {"env": "a.txt"}).env == "none"


def test_a_cell_says_whether_its_result_is_kept():
    assert [read(line).cache for line in ("", "--cache", "--no-cache")] == [None, True, False]
    assert run_options({"cache": False}, {"cache": True}).cache is False


def test_out_none_brings_nothing_home():
    assert read("--out none").outputs == []
    assert read("").outputs is None


def test_an_explicit_option_wins_over_the_defaults_of_the_notebook():
    assert read("--timeout 1h", timeout=60.0, machine="g5.xlarge").timeout == 3600
    assert read("--timeout 1h", timeout=60.0, machine="g5.xlarge").machine == "g5.xlarge"


def test_saying_where_to_run_drops_the_default_of_another_kind():
    assert read("--gpu T4", machine="g5.xlarge").machine is None
    assert read("-m local", gpu=("T4", 1)).gpu is None


def test_help_lists_every_option():
    with pytest.raises(HelpAsked) as asked:
        read("-m local -h")
    told = str(asked.value)
    assert all(o.flags[-1] in told for o in RUN_OPTIONS)
    assert all(len(line) < 80 for line in told.splitlines())


def test_lists_that_are_given_twice_are_one():
    options = read("--files a.csv --files b.csv -i x -i y,z")
    assert (options.files, options.inputs) == (["a.csv", "b.csv"], ["x", "y", "z"])


def test_how_often_a_job_starts_can_be_bounded():
    assert read("--max-attempts 1").max_attempts == 1
    with pytest.raises(UsageError, match="started once at least"):
        read("--max-attempts 0")


def test_code_after_leading_options_stays_as_it_is():
    given, code = RUN_PARSER.parse_leading("-m local --timeout 5m f({'a': \"it's\"},  [1])")
    assert given == {"machine": "local", "timeout": 300.0}
    assert code == "f({'a': \"it's\"},  [1])"


def test_code_that_begins_with_a_minus_needs_two_dashes():
    assert RUN_PARSER.parse_leading("-3 + x") == ({}, "-3 + x")
    assert RUN_PARSER.parse_leading("-q -- -x") == ({"quiet": True}, "-x")


def test_code_with_an_open_quotation_mark_is_left_to_python():
    assert RUN_PARSER.parse_leading("-q it's") == ({"quiet": True}, "it's")


def plan(machine="g5.xlarge", *, likely_usd=24.0, simulated=False, is_cached=False):
    return SimpleNamespace(
        machine=SimpleNamespace(id=machine, simulated=simulated),
        reply=SimpleNamespace(rate_ucredits_per_h=100_000_000, hold_ucredits=2_400_000_000),
        likely_usd=likely_usd,
        short=lambda: f"{machine} in short",
        is_cached=is_cached,
    )


@pytest.mark.parametrize(
    ("options", "simulated", "answer", "runs"),
    [
        ({}, False, "n", False),
        ({}, False, "", False),
        ({}, False, "yes", True),
        ({"yes": True}, False, None, True),
        ({"max_cost": 2.0}, False, None, True),
        ({"cache": True}, False, None, True),  # and its result is there
        ({}, True, None, True),
        ({"quiet": True}, True, None, True),
    ],
)
def test_real_money_without_a_limit_is_asked_for(
    monkeypatch, capsys, options, simulated, answer, runs
):
    asked = []
    monkeypatch.setattr("builtins.input", lambda text: asked.append(text) or answer)
    made = plan(simulated=simulated, is_cached="cache" in options)
    given = RunOptions(machine="g5.xlarge", **options)
    assert asking.agreed(Context(), given, [made]) is runs
    assert len(asked) == (answer is not None)
    assert ("in short" in capsys.readouterr().out) is not bool({"quiet", "cache"} & options.keys())


def test_machines_to_compare_are_asked_for_once_with_what_they_cost_together(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr("builtins.input", lambda text: asked.append(text) or "n")
    plans = [plan("local", likely_usd=0.0), plan(likely_usd=0.6), plan("g6.xlarge", likely_usd=0.6)]
    assert not asking.agreed(Context(), RunOptions(compare=["local"]), plans)
    assert asked == ["Run it on g5.xlarge and g6.xlarge ($2/h together, at most $48.00)? [y/N] "]
    shown = capsys.readouterr().out
    assert "g5.xlarge in short" in shown
    assert "g6.xlarge in short" in shown
    assert "local" not in shown


@pytest.mark.parametrize(
    ("options", "looks"),
    [
        ({"machine": "local"}, False),
        ({}, False),
        ({"machine": "g5.xlarge", "max_cost": 0.5}, False),
        ({"compare": ["g5.xlarge"], "max_cost": 0.5}, False),
        ({"gpu": ("T4", 1), "max_cost": 5.0}, True),
        ({"memory": 1 << 40}, True),
        ({"compare": ["g5.xlarge", "g6.xlarge"]}, True),
    ],
)
def test_what_cannot_be_expensive_is_not_planned(options, looks):
    assert asking.may_be_expensive(Context(), RunOptions(**options)) is looks


def test_a_job_that_is_expected_to_be_cheap_shows_no_plan(capsys):
    assert asking.agreed(Context(), RunOptions(machine="g5.xlarge"), [plan(likely_usd=0.01)])
    assert capsys.readouterr().out == ""


def test_machines_to_compare_and_one_machine_replace_each_other():
    defaults = {"machine": "g5.xlarge", "memory": 1 << 30}
    compared = run_options({"compare": ["g4dn.xlarge", "local"]}, defaults)
    assert (compared.machine, compared.memory) == (None, 1 << 30)
    assert run_options({"machine": "local"}, {"compare": ["g4dn.xlarge"]}).compare is None


def test_a_session_that_costs_is_opened_after_the_answer(monkeypatch):
    looked = []

    def prepare(context, options, source, *, value, planned):
        looked.append(planned)

        return SimpleNamespace(captured=None)

    monkeypatch.setattr(run, "prepare", prepare)
    monkeypatch.setattr(run, "plan", lambda *_: plan())
    monkeypatch.setattr(run, "_opens_session", lambda *_: True)
    monkeypatch.setattr("builtins.input", lambda text: "n")
    assert run.run_code(Context(), RunOptions(machine="g5.xlarge", session="lab"), "1")
    assert looked == [True]

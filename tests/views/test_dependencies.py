"""What has to be there before a call: modules, names and other calls' results."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import jupyter_remote as jr
from jupyter_remote.errors import DependencyTimeout, ImpossibleDependency, InvalidDependency
from tests.views.gates import Gate, held
from tests.views.here import defined


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


# --- of a function ----------------------------------------------------------------------------
def test_require_imports_modules_by_name_and_as_objects(one):
    code = "def names(): return json.decoder.__name__, re.sub('a', 'b', 'cat')"
    names = jr.require("json.decoder", re)(defined(one.client, code))
    assert names.__name__ == "names"
    assert one.apply_sync(names) == ("json.decoder", "cbt")


def test_require_gives_functions_and_values_their_names(one):
    def triple(x):
        return 3 * x

    both = defined(one.client, "def both(x): return triple(x) + more")
    assert one.apply_sync(jr.require(triple, more=5)(both), 2) == 11
    with pytest.raises(TypeError, match="name others"):
        jr.require(5)


@pytest.mark.parametrize("name", ["one", "balanced"])
def test_a_module_that_is_not_there_is_an_unmet_dependency(name, request):
    view = request.getfixturevalue(name)
    with pytest.raises(jr.UnmetDependencyError, match="no_such_module cannot be imported"):
        view.apply_sync(jr.require("no_such_module")(int))


def test_depend_asks_a_function_over_there(one):
    def larger(a, b=0):
        return a > b

    assert one.apply_sync(jr.depend(larger, 1)(int)) == 0
    assert one.apply_sync(jr.depend(print)(int)) == 0
    with pytest.raises(jr.UnmetDependencyError, match="not fulfilled"):
        one.apply_sync(jr.depend(larger, 1, b=3)(int))


def test_a_call_whose_worker_lacks_something_is_tried_on_another(balanced, client):
    client[0].push({"special": False}, block=True)
    client[1].push({"special": True}, block=True)

    is_special = defined(client, "def is_special(): return special")
    calls = [balanced.apply(jr.depend(is_special)(os.getpid)) for _ in range(6)]
    assert {r.get() for r in calls} == {client[1].apply_sync(os.getpid)}
    assert {r.engine_id for r in calls} == {1}


def test_an_interactive_function_uses_the_namespace_it_runs_in(one):
    one["only_there"] = 4
    assert one.apply_sync(jr.interactive(uses_only_there)) == 4


def uses_only_there():
    return only_there  # noqa: F821


# --- of a call --------------------------------------------------------------------------------
def test_a_call_waits_until_those_before_it_are_done(balanced, gate):
    before = balanced.apply(held, gate.path)
    with balanced.temp_flags(after=before):
        result = balanced.apply(int)
    assert balanced.apply_sync(int) == 0
    assert not result.ready()
    gate.open()
    assert result.get(20) == 0
    assert result.metadata.after == before.msg_ids
    assert result.metadata.started >= before.metadata.completed


def test_a_call_runs_where_the_one_ran_that_it_follows(balanced):
    first = balanced.apply(os.getpid)
    with balanced.temp_flags(follow=first):
        following = [balanced.apply(os.getpid) for _ in range(5)]
    assert {r.get() for r in following} == {first.get()}
    assert following[0].metadata.follow == first.msg_ids


def test_dependencies_are_results_ids_or_several_of_them(balanced):
    one, two = balanced.apply(int), balanced.apply(int)
    for after in (one, one.msg_ids[0], [one, two.msg_ids[0]], (), jr.Dependency([one, two])):
        with balanced.temp_flags(after=after):
            assert balanced.apply(int).get(20) == 0


def test_a_call_after_one_that_failed_is_impossible(balanced):
    failed = balanced.apply(divmod, 1, 0)
    with balanced.temp_flags(after=failed):
        result = balanced.apply(int)
    with pytest.raises(ImpossibleDependency, match="did not end as they should"):
        result.get(20)
    assert result.status == "error"
    with balanced.temp_flags(after=jr.Dependency(failed, success=False, failure=True)):
        assert balanced.apply(int).get(20) == 0


def test_following_calls_that_ran_on_several_workers_is_impossible(balanced, view):
    both = view.apply(int)
    with balanced.temp_flags(follow=both.msg_ids), pytest.raises(ImpossibleDependency):
        balanced.apply(int).get(20)
    with balanced.temp_flags(follow=jr.Dependency(both, all=False)):
        assert balanced.apply(int).get(20) == 0


def test_following_a_worker_that_may_not_take_the_call_is_impossible(client):
    there = client[1].apply(int)
    view = client.load_balanced_view(0, follow=there)
    with pytest.raises(ImpossibleDependency, match="none of the workers"):
        view.apply(int).get(20)


def test_a_dependency_that_nobody_knows_is_invalid(balanced):
    with balanced.temp_flags(after="nothing"), pytest.raises(InvalidDependency):
        balanced.apply(int).get(20)


def test_a_dependency_that_takes_too_long_is_a_timeout_error(balanced, gate):
    before = balanced.apply(held, gate.path)
    with balanced.temp_flags(after=before, timeout=0.05):
        result = balanced.apply(int)
    with pytest.raises(DependencyTimeout, match=r"within 0\.05 s") as caught:
        result.get(20)
    assert isinstance(caught.value, TimeoutError)
    gate.open()
    assert before.get() == "open"


def test_a_call_that_waits_for_others_can_be_dropped(balanced, gate):
    before = balanced.apply(held, gate.path)
    with balanced.temp_flags(after=before):
        result = balanced.apply(int)
    result.abort()
    with pytest.raises(jr.TaskAborted):
        result.get(20)
    gate.open()
    assert before.get() == "open"


@pytest.mark.parametrize(
    ("options", "done", "verdict"),
    [
        ({}, {}, None),
        ({}, {"a": True}, None),
        ({}, {"a": True, "b": True}, True),
        ({}, {"a": False}, False),
        ({"all": False}, {"a": True}, True),
        ({"all": False}, {"a": False}, None),
        ({"all": False}, {"a": False, "b": False}, False),
        ({"failure": True}, {"a": False, "b": True}, True),
        ({"success": False, "failure": True}, {"a": True}, False),
    ],
)
def test_a_dependency_is_met_as_its_options_say(options, done, verdict):
    assert jr.Dependency(["a", "b"], **options).verdict(done) is verdict


def test_no_dependency_is_met_at_once_and_one_needs_an_end_that_counts():
    assert jr.Dependency([]).verdict({}) is True
    assert jr.Dependency([], all=False).verdict({}) is True
    with pytest.raises(ValueError, match="at least one"):
        jr.Dependency("a", success=False)
    with pytest.raises(TypeError):
        jr.Dependency([5])

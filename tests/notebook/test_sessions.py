"""Cells in a namespace that lasts, and the commands that look into it."""

from __future__ import annotations

import time

from tests.notebook.kernels import LIMIT_S, Kernel, Message, once, printed, raised, started


def value(messages: list[Message]) -> str:
    (result,) = [m["content"] for m in messages if m["msg_type"] == "execute_result"]
    return result["data"]["text/plain"]


def test_names_of_one_cell_are_there_in_the_next_and_stay_there(kernel):
    told = printed(kernel.run("%%remote_run -s lab\nx = [1, 2]\nprint('hello')"))
    assert "session lab on local: it ends when idle for 1 h" in told
    assert "hello" in told
    assert value(kernel.run("%%remote_run -s lab\nx.append(3)\nx")) == "[1, 2, 3]"
    assert raised(kernel.run("x"))["ename"] == "NameError"


def test_what_only_the_notebook_has_goes_along_and_the_session_keeps_its_own(kernel):
    kernel.run("factor, mine = 3, 'here'")
    kernel.run("%%remote_run -s own\nmine = 'there'")
    cell = "%%remote_run -s own\nmine, factor * 2"
    assert value(kernel.run(cell)) == "('there', 6)"
    kernel.run("factor = 5")
    assert value(kernel.run(cell)) == "('there', 6)"
    assert value(kernel.run("%%remote_run -s own -i factor\nfactor")) == "5"


def test_names_that_only_text_names_are_those_of_the_session(kernel):
    kernel.run("%%remote_run -s texts\nhidden = 5")
    messages = kernel.run(
        "%%remote_run -s texts\nfrom math import *\nglobals()['hidden'], floor(2.5)"
    )
    assert value(messages) == "(5, 2)"
    assert printed(messages) == ""


def test_a_function_that_was_defined_again_goes_along_again(kernel):
    kernel.run("def f():\n    return 1")
    assert value(kernel.run("%%remote_run -s again\nf()")) == "1"
    kernel.run("def f():\n    return 2")
    assert value(kernel.run("%%remote_run -s again\nf()")) == "2"


def test_named_variables_come_home(kernel):
    kernel.run("%%remote_run -s home -o best,items\nbest, rest, items = 1, 2, [1]")
    assert value(kernel.run("best, items, 'rest' in globals()")) == "(1, [1], False)"
    kernel.run("%%remote_run -s home -o items\nitems.append(2)")
    assert value(kernel.run("items")) == "[1, 2]"


def test_push_vars_pull_sessions_and_stop(kernel):
    kernel.run("w = [1, 2]\n%remote push w -s tour")
    assert "w     list  2" in value(kernel.run("%remote vars"))
    kernel.run("%%remote_run -s tour\nw2 = [9, *w]")
    kernel.run("%remote pull w2")
    assert value(kernel.run("w2")) == "[9, 1, 2]"
    assert "tour" in value(kernel.run("%remote sessions"))
    assert "session tour is stopped" in printed(kernel.run("%remote stop tour"))
    assert "tour" not in value(kernel.run("%remote sessions"))
    assert "there is no session 'tour'" in raised(kernel.run("%remote pull w -s tour"))["evalue"]


def test_bad_names_are_told(kernel):
    kernel.run("%%remote_run -s bad\npass")
    assert "no variable 'gone' here" in raised(kernel.run("%remote push gone"))["evalue"]
    error = raised(kernel.run("%remote pull gone -s bad"))
    assert error["ename"] == "NameError"
    assert "cannot be the name" in raised(kernel.run("%%remote_run -s 9x\npass"))["evalue"]
    assert "say which variables" in raised(kernel.run("%remote push"))["evalue"]


def test_a_session_that_died_is_told_and_comes_again_only_when_asked(kernel):
    died = kernel.run("%%remote_run -s mortal\nkept = 1\nimport os\nos._exit(3)")
    assert raised(died)["ename"] == "JobLost"
    again = "%%remote_run -s mortal\nprint('kept' in globals())"
    error = raised(kernel.run(again))
    assert error["ename"] == "EngineError"
    assert "--revive" in error["evalue"]
    assert "False" in printed(kernel.run(again.replace("mortal", "mortal --revive")))


def test_an_interrupt_stops_the_cell_and_leaves_the_namespace(kernel):
    code = "%%remote_run -s patient\nimport time\nkept = 7\nprint('started')\ntime.sleep(30)"
    messages = kernel.run(code, once("started", kernel.interrupt))
    assert raised(messages)["ename"] == "JobCancelled"
    assert value(kernel.run("%%remote_run -s patient\nkept")) == "7"


def test_another_kernel_finds_the_session_by_its_name(kernel):
    kernel.run("%%remote_run -s shared\ncommon = 42")
    manager, client = started()
    try:
        other = Kernel(manager, client)
        other.run("%load_ext jupyter_remote")
        assert value(other.run("%%remote_run -s shared\ncommon")) == "42"
        assert "session shared on" not in printed(other.run("%%remote_run -s shared\ncommon += 1"))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
    assert value(kernel.run("%%remote_run -s shared\ncommon")) == "43"


def test_a_cell_waits_while_a_call_runs_and_says_so(kernel, tmp_path):
    gate = tmp_path / "gate"
    kernel.run(
        "from jupyter_remote.notebook import context\n"
        "session = context.current().client.session('turns')\n"
        "def wait(path):\n    import os, time\n"
        "    while not os.path.exists(path):\n        time.sleep(0.02)\n"
        f"slow = session.apply_async(wait, {str(gate)!r})\nneeded = 1"
    )
    seen = once("waiting for its turn", gate.touch)
    assert value(kernel.run("%%remote_run -s turns\nneeded + 1", seen)) == "2"


def test_a_cell_waits_for_another_one_and_says_for_which(kernel, tmp_path):
    gate = tmp_path / "gate"
    kernel.run(
        "%%remote_run -s queue --bg\nimport os, time\n"
        f"while not os.path.exists({str(gate)!r}):\n    time.sleep(0.02)"
    )
    seen = once("waits for its turn: In [", gate.touch)
    assert value(kernel.run("%%remote_run -s queue\n1 + 1", seen)) == "2"


def test_a_default_session_of_the_notebook(kernel):
    kernel.run("%remote use -s usual")
    kernel.run("%%remote_run\nn = 1")
    assert value(kernel.run("%%remote_run\nn + 1")) == "2"
    kernel.run("%remote use --reset")


def completions(kernel: Kernel, code: str) -> list[str]:
    id = kernel.client.complete(code, len(code))
    while (reply := kernel.client.get_shell_msg(timeout=30))["parent_header"].get("msg_id") != id:
        continue
    return reply["content"]["matches"]


def completed(kernel: Kernel, code: str, expected: list[str]) -> bool:
    """Perhaps not at the first Tab: it waits for a session a second at most."""
    end = time.monotonic() + LIMIT_S
    while (found := completions(kernel, code)) != expected:
        assert time.monotonic() < end, found
    return True


def test_names_of_the_session_are_completed_in_its_cells(kernel):
    kernel.run("%%remote_run -s tabs\ndistant_value = [1]")
    cell = "%%remote_run -s tabs\n"
    assert completed(kernel, f"{cell}print(distant_", ["distant_value"])
    assert completed(kernel, f"{cell}distant_value.app", ["append"])
    assert completed(kernel, "%remote pull distant_", ["distant_value"])
    assert completed(kernel, "%remote stop tab", ["tabs"])
    assert completions(kernel, "%%remote_run -s none_such\nprint(distant_") == []


def conversation(kernel: Kernel, code: str, answers: list[str]) -> tuple[list[str], str]:
    """Runs a cell that asks; the prompts, and what was printed."""
    client = kernel.client
    id = client.execute(code, allow_stdin=True)
    prompts: list[str] = []
    texts: list[str] = []
    for answer in answers:
        asked = client.get_stdin_msg(timeout=30)
        prompts.append(asked["content"]["prompt"])
        client.input(answer)
    while True:
        message = client.get_iopub_msg(timeout=30)
        if message["parent_header"].get("msg_id") != id:
            continue
        texts += [message["content"]["text"]] if message["msg_type"] == "stream" else []
        if message["content"].get("execution_state") == "idle":
            return prompts, "".join(texts)


def test_a_cell_of_a_session_asks_who_sits_at_the_notebook(kernel):
    code = "%%remote_run -s asks\nname = input('who? ')\nprint('hello', name)"
    prompts, said = conversation(kernel, code, ["Ada"])
    assert prompts == ["who? "]
    assert "hello Ada" in said


def test_the_debugger_opens_the_frame_of_a_cell_that_failed(kernel):
    code = (
        "%%remote_run -s debugged\ndef divide(top, bottom):\n    return top / bottom\ndivide(7, 0)"
    )
    assert raised(kernel.run(code))["ename"] == "ZeroDivisionError"
    prompts, said = conversation(kernel, "%remote debug last", ["p top", "p bottom", "q"])
    assert prompts[0].startswith("ipdb>")
    assert "top / bottom" in said
    assert "\n7\n0\n" in said


def test_a_breakpoint_in_a_cell_of_a_session_stops_there(kernel):
    code = "%%remote_run -s stops\nhidden = 41\nbreakpoint()\nhidden += 1\nprint('went on', hidden)"
    prompts, said = conversation(kernel, code, ["p hidden", "c"])
    assert len(prompts) == 2
    assert "41" in said
    assert "went on 42" in said


def test_the_debugger_says_what_it_cannot_open(kernel):
    kernel.run("%%remote_run\n1 / 0")
    assert "did not run in a session" in raised(kernel.run("%remote debug last"))["evalue"]
    kernel.run("%%remote_run -s fine\npass")
    assert "did not fail" in raised(kernel.run("%remote debug last"))["evalue"]

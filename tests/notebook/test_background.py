"""Jobs that nobody waits for: what they print and how they end is below the cell of theirs."""

from __future__ import annotations

import pytest

from jupyter_remote.notebook.context import Context
from tests.notebook.kernels import Message, once, printed, raised


def is_error(message: Message) -> bool:
    return message["msg_type"] == "error"


def value(messages: list[Message]) -> str:
    (result,) = [m["content"] for m in messages if m["msg_type"] == "execute_result"]
    return result["data"]["text/plain"]


def test_a_failure_is_shown_below_its_cell_and_named_wherever_the_job_is(kernel):
    code = "%%remote_run --bg -d doomed\nprint('before')\ndef f(x):\n    return 1 / x\nf(0)"
    messages = kernel.later(code, is_error)
    assert "before" in printed(messages)
    assert raised(messages)["ename"] == "ZeroDivisionError"
    text = "\n".join(raised(messages)["traceback"])
    assert "return" in text
    assert "jupyter_remote" not in text
    said = "failed: ZeroDivisionError: division by zero"
    for look in ("%remote show last", "%remote history last", "%remote jobs"):
        assert said in value(kernel.run(look))


def test_a_failure_after_nobody_waits_any_more_is_shown_too(kernel, tmp_path):
    gate = tmp_path / "gate"
    code = (
        "%%remote_run -d patient\nimport os, time\nprint('started')\n"
        f"while not os.path.exists({str(gate)!r}):\n    time.sleep(0.02)\nraise KeyError('late')"
    )
    kernel.run(
        "from jupyter_remote.client.job import Job\n"
        "real, Job.cancel = Job.cancel, lambda *a, **k: None"
    )
    seen = [
        once("started", kernel.interrupt),
        once("again: kill", kernel.interrupt),
        once("wait no more", kernel.interrupt),
    ]

    def interrupt(message: Message) -> None:
        text = str(message["content"].get("data", {}).get("text/plain", ""))
        for one in seen:
            one(message)
            one({"content": {"text": text}})

    ended: list[Message] = []

    def until(message: Message) -> bool:
        interrupt(message)
        if is_error(message):
            gate.touch()
            ended.append(message)
        return len(ended) == 2

    messages = kernel.later(code, until)
    kernel.run("Job.cancel = real")
    first, second = (m["content"]["ename"] for m in messages if is_error(m))
    assert (first, second) == ("KeyboardInterrupt", "KeyError")


def test_code_that_waits_for_a_job_has_its_variables_in_the_next_line(kernel):
    kernel.run("%%remote_run --bg -n waited\nlater = 5")
    assert value(kernel.run("waited.wait()\nlater")) == "5"
    kernel.run("%%remote_run --bg -n given\nlater = 6")
    assert value(kernel.run("given.result()\nlater")) == "6"
    kernel.run("%%remote_run --bg -n awaited\nlater = 7")
    assert value(kernel.run("await awaited\nlater")) == "7"


def test_code_that_waits_for_a_job_goes_on_when_its_card_says_how_it_ended(kernel):
    kernel.run(
        "import time\nfrom jupyter_remote.notebook.live import Live\nreal = Live.tick\n"
        "def slow(live):\n    time.sleep(0.3)\n    again = real(live)\n"
        "    drawn.append(live.state.status)\n    return again\nLive.tick, drawn = slow, []"
    )
    kernel.run("%%remote_run --bg -n job\nimport time\ntime.sleep(0.3)")
    messages = kernel.run("_ = job.result()\ndrawn[-1]")
    kernel.run("Live.tick = real")
    assert value(messages) == "'completed'"


def test_a_quiet_cell_shows_its_bars_as_the_code_would(kernel):
    code = "%%remote_run -q\nfrom tqdm.auto import tqdm\nfor i in tqdm(range(3), desc='steps'):\n"
    shown = printed(kernel.run(code + "    print(i)"))
    assert "3/3" in shown
    assert "steps" in shown


def test_who_asks_for_input_reads_what_to_do_and_no_inner_frames(kernel):
    messages = kernel.run("%%remote_run\nname = input('name? ')")
    text = "\n".join(raised(messages)["traceback"])
    assert "cannot ask anybody" in text
    assert "kernelbase" not in text


def test_what_a_process_wrote_as_it_died_is_shown_once(kernel):
    messages = kernel.run("%%remote_run\nimport os\nprint('bye', flush=True)\nos._exit(3)")
    assert raised(messages)["ename"] == "JobLost"
    assert "bye" not in "\n".join(raised(messages)["traceback"])
    assert printed(messages).count("bye") == 1


def test_waiting_in_other_threads_leaves_the_variables_to_the_cell_that_waits(kernel, tmp_path):
    gate = str(tmp_path / "gate")
    kernel.run(
        f"%%remote_run --bg -n shared\nimport os, time\nwhile not os.path.exists({gate!r}):\n"
        "    time.sleep(0.01)\nlast = 8"
    )
    code = (
        f"import threading\nopen({gate!r}, 'w').close()\n"
        "thread = threading.Thread(target=shared.wait)\nthread.start(); thread.join()\n"
        "before = 'last' in globals()\nshared.wait()\n(before, last)"
    )
    assert value(kernel.run(code)) == "(False, 8)"


def test_a_name_that_was_bound_here_meanwhile_stays_and_one_of_another_job_does_not(
    kernel, tmp_path
):
    gate = str(tmp_path / "gate")
    wait = f"import os, time\nwhile not os.path.exists({gate!r}):\n    time.sleep(0.01)\n"
    kernel.run("best, gone, both = 0, 0, 0")
    kernel.run(f"%%remote_run --bg -n one\n{wait}best, gone, both = 1, 1, 1")
    kernel.run(f"%%remote_run --bg -n two\n{wait}both = 2")
    code = f"best = 'mine'; del gone\nopen({gate!r}, 'w').close()\none.wait(); two.wait()\n"
    messages = kernel.run(code + "(best, 'gone' in globals(), both)")
    assert value(messages) == "('mine', False, 2)"


def test_an_old_value_is_not_taken_for_a_new_one_that_could_not_come(kernel):
    kernel.run("import threading\nguard = kept = None")
    messages = kernel.run("%%remote_run\nguard, fresh = threading.Lock(), 1")
    assert "stayed over there" in printed(messages)
    assert "its old value is gone" in printed(messages)
    assert value(kernel.run("'guard' in globals(), kept, fresh")) == "(False, None, 1)"


def test_what_could_not_be_brought_home_is_tried_again_and_holds_up_nobody():
    class Ended:
        on_waited = None

        def __init__(self, id: str) -> None:
            self.id = id

        def done(self) -> bool:
            return True

    context, brought = Context(), []

    def fails_once() -> None:
        brought.append("tried")
        if len(brought) == 1:
            raise OSError("the connection is gone")

    context.expect(Ended("a"), fails_once)
    context.expect(Ended("b"), lambda: brought.append("b"))
    with pytest.raises(OSError, match="gone"):
        context.arrive()
    assert brought == ["tried", "b"]
    context.arrive()
    context.arrive()
    assert brought == ["tried", "b", "tried"]

"""What comes at the same time in a process that has just begun: of threads, and an interrupt."""

from __future__ import annotations

import subprocess
import sys

DECODE = """
import sys, threading
import msgspec
from jupyter_remote import wire

money = wire.Money(rate_ucredits_per_h=0, hold_ucredits=0, cost_ucredits=0)
metrics = wire.Metrics(at=0.0, cpu_percent=0.0, memory_bytes=0)
job = wire.JobView(
    id="1", kind="cell", status="running", submitted_at=0.0, money=money, metrics=metrics
)
data = msgspec.json.encode(wire.JobList([job]))
start = threading.Barrier(8)

def decode():
    start.wait()
    assert msgspec.json.decode(data, type=wire.JobList).jobs == [job]

sys.setswitchinterval(1e-6)
threads = [threading.Thread(target=decode) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_threads_that_decode_a_type_for_the_first_time_do_not_crash_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", DECODE], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


INTERRUPTED = """
import sys

class Interrupts:
    left = 1

    def find_spec(self, name, path=None, target=None):
        if name == "datetime" and self.left:
            self.left = 0
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupts())
try:
    from jupyter_remote import wire
except KeyboardInterrupt:
    from jupyter_remote import wire
import msgspec
msgspec.json.decode(b"[]", type=list[msgspec.Raw])
"""


def test_an_interrupt_in_the_first_milliseconds_does_not_crash_the_process_later() -> None:
    run = [sys.executable, "-c", INTERRUPTED]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")

import pytest
from msgspec.structs import replace

from jupyter_remote.model import MachineType
from jupyter_remote.money.advice import advise
from jupyter_remote.money.catalog import GIB, catalogue
from jupyter_remote.wire import GpuMetrics, Metrics

LOCAL = MachineType(id="local", cpus=2, memory_bytes=4 * GIB, source="here")
ALL = [LOCAL, *(m for m in catalogue() if m.id != "local")]
BY_ID = {m.id: m for m in ALL}
G5 = BY_ID["g5.xlarge.od"]


def used(peak_gib: float = 3.1, *, cores: float = 1.0, run_s: float = 600.0, **gpu: float):
    """A run with one GPU; ``gpu`` are its mean, peak (percent) and memory (GiB)."""
    mean, memory = gpu.get("mean", 11.0), gpu.get("memory", 3.1)
    metrics = GpuMetrics(
        "A10G",
        mean_percent=mean,
        peak_percent=gpu.get("peak", min(100.0, 2 * mean)),
        peak_memory_bytes=int(memory * GIB),
        memory_total_bytes=24 * GIB,
    )
    return Metrics(
        at=0.0,
        cpu_percent=0.0,
        memory_bytes=0,
        peak_memory_bytes=int(peak_gib * GIB),
        measured_s=run_s,
        peak_cpu_percent=100 * cores,
        gpus=[metrics] * int(gpu.get("count", 1)),
    )


def machine(use, mine=G5):
    advice = advise(mine, use, ALL)
    return None if advice is None else advice.machine


def test_a_gpu_that_is_little_used_is_exchanged_for_a_cheaper_one():
    advice = advise(G5, used(), ALL)
    assert advice is not None
    assert advice.text == (
        "peak 3.1 of 24 GB, GPU use 11 %: g4dn.xlarge.od would have done, −48 %, "
        "if it runs as fast there"
    )
    assert (advice.machine, advice.saves_percent) == ("g4dn.xlarge.od", 48)


def test_a_gpu_that_was_not_used_is_not_needed():
    advice = advise(G5, used(2.0, mean=0.0, memory=0.4), ALL)
    assert advice is not None
    assert advice.machine == "local"
    assert advice.text == (
        "peak memory 2 of 16 GB, the GPU was not used: local would have done, for nothing, "
        "if it runs as fast there"
    )


def test_a_gpu_that_holds_memory_was_used_though_no_look_caught_it_at_work():
    assert machine(used(2.0, mean=0.0, memory=10.0)) == "g4dn.xlarge.od"


def test_short_runs_and_missing_figures_say_nothing():
    assert machine(used(run_s=59.0)) is None
    assert machine(used(0.0)) is None
    assert machine(None) is None
    assert machine(replace(used(), gpus=[])) is None  # simulated: nobody measured its GPU


def test_what_is_free_cannot_be_cheaper():
    assert machine(used(), LOCAL) is None


@pytest.mark.parametrize(
    "use",
    [
        used(memory=14.0),  # of 16 GiB
        used(13.0, memory=20.0),
        used(mean=90.0),  # busy: another model would be slower
    ],
)
def test_a_machine_without_head_room_above_the_peaks_is_not_advised(use):
    found = machine(use)
    assert found != "g4dn.xlarge.od"
    assert found != "local"


def test_a_busy_gpu_keeps_its_model_and_loses_those_beside_it():
    mine = BY_ID["g5.12xlarge.od"]
    use = used(8.0, cores=3.0, mean=90.0, memory=20.0)
    idle = GpuMetrics("A10G", peak_memory_bytes=GIB // 2, memory_total_bytes=24 * GIB)
    advice = advise(mine, replace(use, gpus=[*use.gpus, idle, idle, idle]), ALL)
    assert advice is not None
    assert advice.machine == "g5.xlarge.od"
    assert advice.text.startswith("1 of 4 GPUs used, peak 20 of 24 GB, GPU use 90 %")


def test_cores_and_memory_of_the_whole_job_count_too():
    mine = BY_ID["g5.12xlarge.od"]
    assert machine(used(100.0, cores=3.0), mine) is None  # no cheaper one has 125 GiB
    assert machine(used(8.0, cores=12.0), mine) == "g6.4xlarge.od"


def test_spot_is_never_advised_to_who_chose_on_demand():
    found = advise(G5, used(), ALL)
    assert found is not None
    assert not BY_ID[found.machine].spot
    assert machine(used(), BY_ID["g5.xlarge"]) == "g4dn.xlarge"


def test_a_small_saving_is_not_worth_a_word():
    close = replace(G5, id="close", usd_per_h=G5.usd_per_h * 0.93)
    assert advise(G5, used(), [LOCAL, G5, close]) is None


def test_a_machine_of_cpus_is_told_of_its_cores():
    large = MachineType(id="c.large", cpus=64, memory_bytes=128 * GIB, usd_per_h=2.7)
    small = MachineType(id="c.small", cpus=4, memory_bytes=8 * GIB, usd_per_h=0.17)
    use = replace(used(3.0, cores=2.5), gpus=[])
    advice = advise(large, use, [small, large])
    assert advice is not None
    assert advice.text == (
        "peak memory 3 of 128 GB, 2.5 of 64 cores: c.small would have done, −94 %, "
        "if it runs as fast there"
    )

"""A receipt as a table that people read. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from jupyter_remote.cards import graphs, words
from jupyter_remote.client.receipts import newer
from jupyter_remote.money.meter import ucredits_of_usd
from jupyter_remote.notebook.tables import Table
from jupyter_remote.wire import GpuMetrics, Metrics, Receipt, ReceiptAttempt, ReceiptCost

DIGEST = 16  # characters that are shown; --json has all
LISTED = 8  # names and files that are shown


def table(receipt: Receipt, visibility: str = "") -> Table:
    """All of it; what is not known is left out. ``visibility``: as it is now, if that is known."""
    rows = [(label, text) for label, text in _rows(receipt, visibility) if text]
    return Table(["", "receipt"], rows, empty="", note=newer(receipt), whole=(0,))


def _rows(receipt: Receipt, visibility: str) -> Iterator[tuple[str, str]]:
    yield "id", receipt.id
    yield "what", receipt.description or receipt.kind
    yield "notebook", receipt.notebook
    yield "status", _status(receipt)
    yield "ended by", receipt.ended_by
    yield "at the end", receipt.end_text
    yield "visibility", visibility or receipt.visibility
    yield "code", receipt.code_key[:DIGEST] or receipt.code_digest[:DIGEST]
    yield "inputs", _inputs(receipt)
    yield "files", _some(f"{f.path} ({words.size(f.size_bytes)})" for f in receipt.files)
    yield "environment", _environment(receipt)
    yield "machine", _machine(receipt)
    yield "worker", f"{receipt.worker} ({receipt.provider})" if receipt.provider else receipt.worker
    yield "price", _price(receipt)
    yield "submitted", _when(receipt.submitted_at)
    yield "ended", _when(receipt.ended_at)
    yield "waited", words.duration(receipt.waited_s)
    yield "ran", _ran(receipt)
    for attempt in receipt.attempts if len(receipt.attempts) > 1 else []:
        yield f"attempt {attempt.epoch}", _attempt(attempt)
    yield from _use(receipt.use)
    yield "cost", _cost(receipt.cost)
    yield "advice", receipt.advice.text if receipt.advice is not None else ""
    yield "went on from", receipt.resumes
    yield "version", receipt.version


def _status(receipt: Receipt) -> str:
    why = receipt.detail or receipt.reason.replace("_", " ")
    return f"{receipt.status}: {why}" if why not in ("", receipt.status) else receipt.status


def _ran(receipt: Receipt) -> str:
    if receipt.cached_from:
        return f"no: it was given the result of job {words.short(receipt.cached_from)}"
    return words.duration(receipt.ran_s) if receipt.started_at is not None else "never"


def _inputs(receipt: Receipt) -> str:
    """All names have one digest: they travel in one pickle."""
    if not receipt.inputs and not receipt.inputs_bytes:
        return "none"
    names = _some(f"{n.name} ({n.type}, {words.size(n.size_bytes)})" for n in receipt.inputs)
    digest = f", together {receipt.inputs_digest[:DIGEST]}" if receipt.inputs_digest else ""
    return f"{names or 'without names'}: {words.size(receipt.inputs_bytes)}{digest}"


def _some(texts: Iterable[str]) -> str:
    listed = list(texts)
    more = f" and {len(listed) - LISTED} more" if len(listed) > LISTED else ""
    return ", ".join(listed[:LISTED]) + more


def _environment(receipt: Receipt) -> str:
    known = receipt.environment
    parts = [f"Python {known.python}" if known.python else "", known.platform]
    parts += [f"{name} {version}" for name, version in known.packages.items()]
    return ", ".join(part for part in parts if part)


def _machine(receipt: Receipt) -> str:
    parts = [receipt.machine + (" (simulated)" if receipt.simulated else "")]
    if (offer := receipt.offer) is not None:
        parts += [f"{offer.cpus:g} cores", words.size(offer.memory_bytes)]
        if offer.gpu:
            memory = words.size(offer.gpu_memory_bytes)
            parts.append(f"{offer.gpu_count} × {offer.gpu} {memory}")
    return ", ".join(parts)


def _price(receipt: Receipt) -> str:
    price = receipt.price
    if not price.usd_per_h:
        return words.unpriced(receipt.kind, receipt.session, receipt.machine)
    when = f" of {price.priced_on}" if price.priced_on else ""
    source = f", {price.source}" if price.source else ""
    kind = " (spot)" if price.spot else ""
    return f"{words.price(ucredits_of_usd(price.usd_per_h))}{kind}{when}{source}"


def _when(at: float | None) -> str:
    return "" if at is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _attempt(attempt: ReceiptAttempt) -> str:
    """``lost (SIGKILL) after 12 s on w1: not charged, $0.01 lost``."""
    how = f"{attempt.how} ({attempt.signal})" if attempt.signal else attempt.how
    if attempt.started_at is None or attempt.ended_at is None:
        return f"{how} on {attempt.worker}, not started"
    ran = words.duration(attempt.ended_at - attempt.started_at)
    paid = words.money(attempt.charged_ucredits)
    lost = f", {words.money(attempt.lost_ucredits)} not charged" if attempt.lost_ucredits else ""
    return f"{how} after {ran} on {attempt.worker}: {paid}{lost}"


def _use(use: Metrics | None) -> Iterator[tuple[str, str]]:
    if use is None:
        yield "use", "not measured: it was over too soon"
        return
    limit = f" of {words.size(use.memory_limit_bytes)}" if use.memory_limit_bytes else ""
    yield "peak memory", words.size(use.peak_memory_bytes) + limit
    if use.measured_s:
        yield "CPU", _mean(use.mean_cpu_percent, use.peak_cpu_percent)
    if use.disk_total_bytes:
        full = f"{words.size(use.peak_disk_bytes)} of {words.size(use.disk_total_bytes)} in use"
        yield "disk", f"{_flows(use, disk=True)}; {full}"
        yield "network of the machine", _flows(use, disk=False)
    for gpu in use.gpus:
        yield gpu.name or "GPU", _gpu(gpu)


def _flows(use: Metrics, *, disk: bool) -> str:
    return graphs.flows(use, final=True, disk=disk).partition(" ")[2]


def _mean(mean: float, peak: float) -> str:
    return f"{mean:.0f} % on average, {peak:.0f} % at most"


def _gpu(gpu: GpuMetrics) -> str:
    memory = f"{words.size(gpu.peak_memory_bytes)} of {words.size(gpu.memory_total_bytes)}"
    heat = f", {gpu.peak_temperature_c:.0f} °C at most" if gpu.peak_temperature_c else ""
    power = f", {gpu.peak_power_w:.0f} W at most" if gpu.peak_power_w else ""
    return f"{_mean(gpu.mean_percent, gpu.peak_percent)}, memory {memory} at most{power}{heat}"


def _cost(cost: ReceiptCost) -> str:
    """The parts that there are; others are nothing."""
    parts = [f"run {words.money(cost.run_ucredits)}"] if cost.total_ucredits else []
    waiting = cost.waiting_ucredits or 0
    for label, part in [
        ("waiting", waiting),
        ("disk", cost.disk_ucredits),
        ("egress", cost.egress_ucredits),
    ]:
        parts += [f"{label} {words.money(part)}"] if part else []
    unpaid = [
        f"{words.money(part)} {why}"
        for part, why in [
            (cost.lost_ucredits, "lost and not charged"),
            (cost.saved_ucredits, "saved by the cache"),
        ]
        if part
    ]
    told = [f"{words.money(cost.total_ucredits)} ({', '.join(parts)})"] if parts else ["nothing"]
    return "; ".join([*told, *unpaid])

"""What earlier runs teach: how long code takes, how much faster one machine is than another, how
run time grows with inputs, and how far such predictions were off. Pure.

The model is multiplicative, so everything here is in logarithms of seconds and of bytes:
code + machine + slope × inputs + noise. What it gets wrong does not matter for the intervals: these
are as wide as the errors of earlier predictions say (split conformal prediction on the scores of a
sequential replay; Vovk, Gammerman, Shafer 2005), whatever the errors come from.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from statistics import median

import msgspec

from jupyter_remote.model import PastRun

LEVEL = 0.9  # of the cases lie within an interval
RECENT = 16  # runs of one code that are looked at
HALF_LIFE = 5.0  # runs after which one counts half: code, data and machines drift
LEAST_S = 0.001
NOISE, NOISE_RUNS = 0.15, 4.0  # of a code until it was measured, and how many runs that counts
LEAST_NOISE = 0.01
SLOPE, SLOPE_SPREAD = 0.5, 0.35  # of run time over inputs until it was measured: between 0 and 1
RATIO_SPREAD, RATIO_CODES = 0.5, 2.0  # of two machines' speeds, as above
CODES_SPREAD, CODES = 1.5, 2.0  # of different codes in one notebook, as above
OUTLIER = 3.0  # in units of noise: what is further away counts as if it were there
OTHERS, OTHERS_LEAST = 64, 2  # pieces of other code that are looked at
BESIDE, ALIKE = "notebook", "kind"  # classes of guesses from other code
CLASSES = (1, 4)  # predictions of code from so many runs are judged together
MOST_SCORES = 200  # of one class; the newest
# Scores that stand for what is not known yet: quantiles of a t distribution with 4 degrees.
ASSUMED = (0.07, 0.2, 0.34, 0.49, 0.65, 0.83, 1.05, 1.34, 1.78, 2.78)
ASSUMED_WEIGHT = 0.3  # of each, where one that was seen has 1


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A run to be predicted."""

    machine: str
    inputs_bytes: int = 0
    code_key: str = ""
    notebook: str = ""
    kind: str = ""


class Guess(msgspec.Struct, frozen=True):
    """The logarithm of a run time, with what its error should be like."""

    middle: float
    scale: float
    runs: int


class _Line(msgspec.Struct, frozen=True):
    """How run time grows with inputs: slope, and the spread of what is not known of it."""

    slope: float
    known: float  # sum of squares of what it was measured on


class Learned(msgspec.Struct, frozen=True, kw_only=True):
    """What a history teaches about runs that are not in it."""

    noise: float = NOISE
    slope: float = SLOPE
    speeds: dict[tuple[str, str], list[tuple[str, float]]] = {}  # (from, to) → (code, log ratio)
    scores: dict[str, list[float]] = {}  # class → how wrong predictions were, in their own scale

    def ratio(self, source: str, target: str, without: str = "") -> tuple[float, float, int]:
        """Log of how much longer ``target`` takes than ``source``, how uncertain that is for one
        code, and how many codes (other than ``without``) it was measured on."""
        if source == target:
            return 0.0, 0.0, 0
        seen = [r for code, r in self.speeds.get((source, target), ()) if code != without]
        middle = sum(seen) / (len(seen) + 1.0)  # none: as fast as the other
        squares = sum((r - middle) ** 2 for r in seen) + RATIO_CODES * RATIO_SPREAD**2
        variance = squares / (len(seen) + RATIO_CODES)
        return middle, math.sqrt(variance * (1 + 1 / (len(seen) + 1.0))), len(seen)

    def width(self, guess: Guess, group: str) -> float:
        """Half of the interval around a guess, in logarithms."""
        return guess.scale * judged(self.scores.get(group, ()))


def judged(scores: Sequence[float]) -> float:
    """How many scales to both sides hold nine errors of ten, by earlier ones; the fewer these are,
    the more what is assumed counts."""
    known = [*((s, 1.0) for s in scores), *((s, ASSUMED_WEIGHT) for s in ASSUMED)]
    left = LEVEL * (len(scores) + ASSUMED_WEIGHT * len(ASSUMED) + 1)
    score = 0.0
    for score, weight in sorted(known):  # noqa: B007
        left -= weight
        if left <= 0:
            break
    return score


def log_s(run: PastRun) -> float:
    """How long it took."""
    return math.log(max(run.run_s, LEAST_S))


def log_bytes(inputs_bytes: int) -> float:
    """How much it got; a few bytes are as good as none."""
    return math.log(inputs_bytes + 1024.0)


def group_of(runs: int) -> str:
    """Which earlier predictions tell how good one from so many runs is."""
    return f"code {max(c for c in CLASSES if c <= runs)}"


def by_code(runs: Iterable[PastRun]) -> dict[str, list[PastRun]]:
    """Oldest first; runs of code that is not known are left out."""
    found: dict[str, list[PastRun]] = defaultdict(list)
    for run in sorted(runs, key=lambda r: r.ended_at):
        if run.code_key:
            found[run.code_key].append(run)
    return found


def learn(runs: Sequence[PastRun]) -> Learned:
    """From runs of any code: speeds, slope and noise of all, then the scores of a replay."""
    codes = by_code(runs)
    lines = [_sums(mine) for mine in codes.values()]
    known, product = (sum(line[i] for line in lines) for i in (0, 1))
    prior = NOISE**2 / SLOPE_SPREAD**2
    slope = _between(0.0, (product + prior * SLOPE) / (known + prior), 1.2)
    learned = Learned(slope=slope, noise=_noise(codes, slope))
    learned = msgspec.structs.replace(learned, speeds=_speeds(codes, learned))
    scores: dict[str, list[float]] = defaultdict(list)
    for mine in codes.values():
        for i in range(1, len(mine)):
            guess = of_code(learned, mine[max(0, i - RECENT) : i], _asked(mine[i]))
            scores[group_of(guess.runs)].append(abs(log_s(mine[i]) - guess.middle) / guess.scale)
    for group, guess, truth in _replayed(learned, [mine[0] for mine in codes.values()]):
        scores[group].append(abs(truth - guess.middle) / guess.scale)
    newest = {group: values[-MOST_SCORES:] for group, values in scores.items()}
    return msgspec.structs.replace(learned, scores=newest)


def _replayed(learned: Learned, firsts: list[PastRun]) -> Iterator[tuple[str, Guess, float]]:
    """The first run of each code, guessed from those of other code before."""
    firsts.sort(key=lambda r: r.ended_at)
    for i, run in enumerate(firsts):
        before = firsts[max(0, i - OTHERS) : i]
        beside = [r for r in before if run.notebook and r.notebook == run.notebook]
        for group, others in ((BESIDE, beside), (ALIKE, before)):
            if len(others) >= OTHERS_LEAST:
                yield group, of_others(learned, others, _asked(run)), log_s(run)


def _asked(run: PastRun) -> Ask:
    return Ask(machine=run.machine, inputs_bytes=run.inputs_bytes, code_key=run.code_key)


def of_code(learned: Learned, runs: Sequence[PastRun], ask: Ask) -> Guess:
    """From runs of the same code, oldest first.

    Those of one machine type make one guess, as good as they are many and new; those of other
    types are converted, with the doubt of that; then all are weighed by how certain they are.
    """
    runs = runs[-RECENT:]
    x = log_bytes(ask.inputs_bytes)
    line = _line(learned, runs)
    noise = _own_noise(learned, runs, line.slope)
    weight = certainty = 0.0
    for machine, group in _by_machine(runs).items():
        levels = [log_s(r) + line.slope * (x - log_bytes(r.inputs_bytes)) for _, r in group]
        weights = [0.5 ** (age / HALF_LIFE) for age, _ in group]
        level, count = _robust_mean(levels, weights, noise)
        ratio, doubt, _ = learned.ratio(machine, ask.machine, without=ask.code_key)
        one = 1.0 / (noise**2 / count + doubt**2)
        weight += one * (level + ratio)
        certainty += one
    away = x - sum(log_bytes(r.inputs_bytes) for r in runs) / len(runs)
    slope_doubt = noise**2 / (line.known + noise**2 / SLOPE_SPREAD**2)
    variance = noise**2 + 1.0 / certainty + slope_doubt * away**2
    return Guess(weight / certainty, math.sqrt(variance), len(runs))


def of_others(learned: Learned, runs: Sequence[PastRun], ask: Ask) -> Guess:
    """From runs of other code, one for each: how far they are apart says how little that tells."""
    levels = [log_s(r) + learned.ratio(r.machine, ask.machine)[0] for r in runs]
    middle = sum(levels) / len(levels)
    squares = sum((y - middle) ** 2 for y in levels) + CODES * CODES_SPREAD**2
    variance = squares / (len(levels) - 1 + CODES)
    return Guess(middle, math.sqrt(variance * (1 + 1 / len(levels))), len(levels))


def _by_machine(runs: Sequence[PastRun]) -> dict[str, list[tuple[int, PastRun]]]:
    """With the age of each, counted in runs."""
    found: dict[str, list[tuple[int, PastRun]]] = defaultdict(list)
    for age, run in enumerate(reversed(runs)):
        found[run.machine].append((age, run))
    return found


def _robust_mean(values: list[float], weights: list[float], noise: float) -> tuple[float, float]:
    """Weighted mean in which no value is an outlier, and how many values it is worth."""
    middle = _weighted_median(values, weights)
    reach = OUTLIER * noise
    total = sum(weights)
    mean = (
        sum(
            w * _between(middle - reach, v, middle + reach)
            for v, w in zip(values, weights, strict=True)
        )
        / total
    )
    return mean, total * total / sum(w * w for w in weights)


def _weighted_median(values: list[float], weights: list[float]) -> float:
    left = sum(weights) / 2
    middle = 0.0
    for middle, weight in sorted(zip(values, weights, strict=True)):  # noqa: B007
        left -= weight
        if left <= 0:
            break
    return middle


def _between(low: float, value: float, high: float) -> float:
    return min(high, max(low, value))


def _sums(runs: Sequence[PastRun]) -> tuple[float, float]:
    """Of squares of inputs, and of inputs times run times, each against the mean of its machine."""
    known = product = 0.0
    for group in _by_machine(runs).values():
        xs = [log_bytes(r.inputs_bytes) for _, r in group]
        x_mean = sum(xs) / len(xs)
        deviations = [x - x_mean for x in xs]
        known += sum(d * d for d in deviations)
        product += sum(d * log_s(r) for d, (_, r) in zip(deviations, group, strict=True))
    return known, product


def _line(learned: Learned, runs: Sequence[PastRun]) -> _Line:
    """The slope of this code; that of all as far as its inputs did not vary."""
    known, product = _sums(runs)
    prior = learned.noise**2 / SLOPE_SPREAD**2
    slope = (product + prior * learned.slope) / (known + prior)
    return _Line(_between(0.0, slope, 1.5), known)


def _residuals(runs: Sequence[PastRun], slope: float) -> tuple[float, int]:
    """Sum of squares around the middle of each machine with outliers moved in, and its degrees of
    freedom."""
    squares, freedom = 0.0, 0
    for group in _by_machine(runs).values():
        levels = [log_s(r) - slope * log_bytes(r.inputs_bytes) for _, r in group]
        middle = median(levels)
        apart = [abs(y - middle) for y in levels]
        reach = OUTLIER * max(1.5 * median(apart), LEAST_NOISE)
        squares += sum(min(d, reach) ** 2 for d in apart)
        freedom += len(levels) - 1
    return squares, freedom


def _own_noise(learned: Learned, runs: Sequence[PastRun], slope: float) -> float:
    squares, freedom = _residuals(runs, slope)
    variance = (squares + NOISE_RUNS * learned.noise**2) / (freedom + NOISE_RUNS)
    return max(math.sqrt(variance), LEAST_NOISE)


def _noise(codes: dict[str, list[PastRun]], slope: float) -> float:
    """Of the middle one of all codes."""
    found = []
    for runs in codes.values():
        squares, freedom = _residuals(runs[-RECENT:], slope)
        if freedom >= 2:
            found.append(math.sqrt(squares / freedom))
    assumed = [NOISE] * 2
    return max(median([*found, *assumed]), LEAST_NOISE)


def _speeds(
    codes: dict[str, list[PastRun]], learned: Learned
) -> dict[tuple[str, str], list[tuple[str, float]]]:
    """Where one code ran on two types: how much longer it took on the second."""
    found: dict[tuple[str, str], list[tuple[str, float]]] = defaultdict(list)
    for code, runs in codes.items():
        slope = _line(learned, runs[-RECENT:]).slope
        levels = {
            machine: median([log_s(r) - slope * log_bytes(r.inputs_bytes) for _, r in group])
            for machine, group in _by_machine(runs[-RECENT:]).items()
        }
        for source, level in levels.items():
            for target, other in levels.items():
                if source != target:
                    found[source, target].append((code, other - level))
    return found

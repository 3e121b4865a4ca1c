"""State of libraries: random numbers, and options of numpy, pandas, scikit-learn, matplotlib."""

from __future__ import annotations

from typing import Any

from jupyter_remote.ambient.of_python import Kind

NUMERIC = frozenset(("numpy", "pandas", "scipy", "sklearn", "matplotlib", "seaborn", "torch"))
DRAWING = frozenset(("matplotlib", "seaborn"))


def _write_numpy(numpy: Any, came: tuple[dict[str, Any], dict[str, Any]]) -> None:
    numpy.set_printoptions(**came[0])
    numpy.seterr(**came[1])


def _options(pandas: Any) -> dict[str, Any]:
    """Options of pandas that are not at their default."""
    known = pandas._config.config._registered_options
    now = {key: pandas.get_option(key) for key in known if not known[key].key.startswith("mode.")}
    return {key: value for key, value in now.items() if value != known[key].defval}


def _write_options(pandas: Any, came: dict[str, Any]) -> None:
    known = pandas._config.config._registered_options
    for key in [key for key in _options(pandas) if key not in came]:
        pandas.set_option(key, known[key].defval)
    for key, value in came.items():
        if key in known:
            pandas.set_option(key, value)


OF_THE_SCREEN = ("backend", "backend_fallback", "interactive", "toolbar", "webagg.", "tk.")


def _rc(matplotlib: Any) -> dict[str, Any]:
    """Parameters of matplotlib that are not at their default; none of the screen's."""
    default = matplotlib.rcParamsDefault
    names = [n for n in default if not n.startswith(OF_THE_SCREEN)]
    return {n: v for n in names if (v := matplotlib.rcParams[n]) != default[n]}


def _write_rc(matplotlib: Any, came: dict[str, Any]) -> None:
    default = matplotlib.rcParamsDefault
    back = {n: default[n] for n in _rc(matplotlib) if n not in came}
    dict.update(matplotlib.rcParams, back | {n: v for n, v in came.items() if n in default})


KINDS = {
    "numpy.random": Kind(
        "numpy",
        NUMERIC,
        lambda m: m.random.get_state(),
        lambda m, v: m.random.set_state(v),
        random=True,
    ),
    "torch.random": Kind(
        "torch",
        frozenset(("torch",)),
        lambda m: m.get_rng_state().numpy(),
        lambda m, v: m.set_rng_state(m.from_numpy(v)),
        random=True,
    ),
    "numpy": Kind("numpy", NUMERIC, lambda m: (m.get_printoptions(), m.geterr()), _write_numpy),
    "pandas": Kind("pandas", frozenset(("pandas",)), _options, _write_options),
    "sklearn": Kind(
        "sklearn",
        frozenset(("sklearn",)),
        lambda m: m.get_config(),
        lambda m, v: m.set_config(**v),
    ),
    "matplotlib": Kind("matplotlib", DRAWING, _rc, _write_rc),
}

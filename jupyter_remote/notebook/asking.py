"""Before jobs that may be expensive: their plans in short, and a question to whoever pays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jupyter_remote.cards import words as say
from jupyter_remote.money.meter import ucredits_of_usd
from jupyter_remote.notebook.sinks import has_person, kernel_of
from jupyter_remote.wire import Need

if TYPE_CHECKING:
    from jupyter_remote.client.api import Client
    from jupyter_remote.client.plan import Plan
    from jupyter_remote.client.running import Call
    from jupyter_remote.notebook.context import Context
    from jupyter_remote.notebook.options import RunOptions

LOCAL = "local"  # the machine type that costs nothing


def may_be_expensive(context: Context, options: RunOptions) -> bool:
    """Is it worth a look at the plan? Asks no backend."""
    needs = (options.machine, options.gpu, options.cpus, options.memory, options.compare)
    if options.machine == LOCAL or all(x is None for x in needs):
        return False
    return options.max_cost is None or options.max_cost > context.settings().plan_above_usd


def agreed(context: Context, options: RunOptions, plans: Sequence[Plan]) -> bool:
    """Shows plans of jobs that together may be expensive; False: they are not to run.

    Jobs of real money without a limit of their own are asked for, once and where there is someone
    to ask; ``--max-cost`` and ``--yes`` are answers given beforehand.
    """
    costly = [made for made in plans if not made.is_cached and made.likely_usd]
    if sum(made.likely_usd for made in costly) <= context.settings().plan_above_usd:
        return True
    if not options.quiet:
        for made in costly:
            print(made.short())
    real = [made for made in costly if not made.machine.simulated]
    given = options.yes or options.max_cost is not None
    return given or not real or _confirmed(context, real)


def announced(context: Context, client: Client, call: Call) -> Call:
    """The call; its plan is shown in short if it may be expensive, once of a function and machine.

    It is not asked for: whoever calls a function gets a value or an error, and that in any loop.
    """
    need, most = client.options.need, client.options.max_cost_ucredits
    which = (call.code_key, str(need))
    if context.shell is None or need == Need() or need.machine == LOCAL or which in context.planned:
        return call
    context.planned.add(which)
    above = context.settings().plan_above_usd
    if most is None or most > ucredits_of_usd(above):
        made = client.plan_call(call)
        if not made.is_cached and made.likely_usd > above:
            print(made.short())
    return call


def _confirmed(context: Context, plans: Sequence[Plan]) -> bool:
    """Does the person say yes? Where there is none they run, as notebooks do unattended."""
    kernel = kernel_of(context.shell)
    if kernel is not None and not has_person(kernel):
        return True
    where = " and ".join(made.machine.id for made in plans)
    together = " together" if len(plans) > 1 else ""
    rate = sum(made.reply.rate_ucredits_per_h for made in plans)
    most = sum(made.reply.hold_ucredits for made in plans)
    price = f"{say.price(rate)}{together}, at most {say.money(most)}"
    if input(f"Run it on {where} ({price})? [y/N] ").strip().lower() in ("y", "yes"):
        return True
    print("not run; --max-cost or -y runs it without asking")
    return False

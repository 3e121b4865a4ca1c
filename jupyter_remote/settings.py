"""Settings: explicit argument, then environment, then ``.env`` beside the notebook, then traitlets
config (``c.JupyterRemote.…`` in ``jupyter_remote_config.py`` or IPython's config), then defaults.

Read when asked for, never at import.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from jupyter_remote.errors import UsageError

if TYPE_CHECKING:
    from traitlets.config import Config

MIB = 1024 * 1024
CACHE_BYTES = 2048 * MIB


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings with their defaults. The environment variable of ``x_y`` is
    ``JUPYTER_REMOTE_X_Y``."""

    url: str = ""  # of a backend; empty: the embedded one
    token: str = ""
    home: str = ""  # state of the embedded backend; default <jupyter data dir>/jupyter_remote
    runtime: str = ""  # connection file; default <jupyter runtime dir>
    idle_timeout_s: float = 3600.0  # the embedded backend ends after this long with nothing to do
    slots: int = 0  # jobs at a time on this computer; 0: one a core, at least 2
    play_credits: float = 1_000_000.0  # granted once on an embedded backend, for simulated types
    longest_run_s: float = 86_400.0  # of a job without --timeout
    gpu_idle_stop_s: float = 0.0  # stop jobs that use no GPU for this long; 0: never
    plan_above_usd: float = 1.0  # a job that may cost more shows its plan first, in short
    retention_s: float = 30 * 86_400.0  # terminal jobs are forgotten after this long
    unused_blobs_s: float = 86_400.0  # blobs that no job needs are kept for this long
    cache_bytes: int = CACHE_BYTES  # of results that an owner keeps to take them again
    providers: str = ""  # beside this computer, comma-separated: "ec2"
    worker_url: str = ""  # where machines elsewhere reach this backend; empty: its own address
    machine_idle_s: float = 300.0  # a machine with nothing to do is kept for so long; 0: not at all
    machine_longest_s: float = 86_400.0  # after this long it ends itself, whatever it does
    machine_alone_s: float = 600.0  # a machine that does not hear of its server ends itself
    machine_boot_s: float = 600.0  # from the request until its worker says hello, at most
    machines_most: int = 10  # machines elsewhere at a time
    spot_fallback: str = "zones,on_demand"  # what may be tried where there is no spot machine
    ec2_region: str = ""  # these are boto3's own where they are empty
    ec2_profile: str = ""
    ec2_endpoint: str = ""  # of an API in place of Amazon's
    ec2_image: str = ""  # id of an AMI, or the path of a parameter that names one
    ec2_subnets: str = ""  # comma-separated; empty: the default one of each zone
    ec2_security_groups: str = ""  # comma-separated ids; empty: the VPC's default one
    ec2_instance_profile: str = ""  # of machines; empty: none, they need no rights
    ec2_disk_gib: int = 100
    blobs: str = ""  # "s3://BUCKET/PREFIX"; empty: this computer's disk
    s3_endpoint: str = ""  # of an API in place of Amazon's
    force_after_s: float = 10.0  # a cancel kills what goes on after KeyboardInterrupt; 0: never
    interrupt_grace_s: float = 10.0  # the same at a limit of time or cost, where it has to end
    checkpoint_s: float = 30.0  # code that is asked for a checkpoint is waited for this long
    heartbeat_s: float = 5.0
    lease_s: float = 45.0
    dead_man_s: float = 30.0
    live_output_bytes: int = 8 * MIB  # live output of one job; the rest is folded into its log
    live_output_bytes_per_s: int = 512 * 1024
    max_body_bytes: int = 64 * MIB  # of a JSON request
    max_blob_bytes: int = 1 << 42
    trust_env: bool = False  # let httpx use proxies from the environment


def load(config: Config | None = None, folder: str | Path | None = None) -> Settings:
    """Settings as they are now.

    Parameters
    ----------
    config: traitlets config of the running application, if there is one.
    folder: where a ``.env`` file may be; the current folder by default.

    Raises UsageError for a value of the wrong kind.
    """
    from dotenv import dotenv_values

    values: dict[str, object] = {}
    if config is not None:
        values.update(config.get("JupyterRemote", {}))
    dotenv = {k: v for k, v in dotenv_values(Path(folder or ".") / ".env").items() if v is not None}
    for source in (dotenv, os.environ):
        for name in Settings.__struct_fields__:
            if (text := source.get(f"JUPYTER_REMOTE_{name.upper()}")) is not None:
                values[name] = text
    try:
        return msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"a setting cannot be read: {error}",
            hint="it is in the environment as JUPYTER_REMOTE_…, in .env or in the configuration",
        ) from None

"""What an agent is told when it is started."""

from __future__ import annotations

from pathlib import Path

import msgspec

from jupyter_remote.settings import Settings
from jupyter_remote.worker.notices import EVERY_S
from jupyter_remote.worker.spill import GIB

DEFAULTS = Settings()


class Config(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The agent's configuration file: JSON, mode 0600, for it holds the token."""

    url: str
    token: str
    home: str  # folder of the agent's own: jobs' folders, cache
    environments: str = ""  # folder of those that it builds; empty: below its home
    instance: str = "local"
    machine: str = "local"
    slots: int = 1
    connection_file: str = ""  # of the embedded backend: has the new address after its restart
    executable: str = ""  # interpreter of kernels where the job names none
    once: bool = False  # remove this file when it has been read
    interrupt_grace_s: float = DEFAULTS.interrupt_grace_s
    checkpoint_s: float = DEFAULTS.checkpoint_s
    live_output_bytes: int = DEFAULTS.live_output_bytes
    live_output_bytes_per_s: int = DEFAULTS.live_output_bytes_per_s
    log_bytes: int = 2 * GIB  # of the log of one job
    spot: bool = False  # the machine may be taken away: its notices are looked for
    notice_every_s: float = EVERY_S
    user: str = ""  # who runs user code; empty: whoever runs the agent
    alone_s: float = DEFAULTS.machine_alone_s  # without a server: the agent ends
    life_s: float = 0.0  # it ends after so long, whatever it does; 0: it does not
    alive_file: str = ""  # of a machine that ends unless this changes; written while it hears

    @property
    def own_machine(self) -> bool:
        """The machine is there for this agent, and ends with it."""
        return bool(self.alive_file)


def read_config(path: Path) -> Config:
    """The configuration in a file; the file goes if it is meant to be read once.

    Raises OSError, msgspec.DecodeError.
    """
    config = msgspec.json.decode(path.read_bytes(), type=Config)
    if config.once:
        path.unlink()
    return config

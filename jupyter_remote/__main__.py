"""``python -m jupyter_remote``: the same as ``jupyter remote``."""

from __future__ import annotations

import sys

from jupyter_remote.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""Let torch's threads share a busy processor.

Between two parallel parts of a step, GNU OpenMP's threads wait for each other by spinning. On a
machine that is doing anything else, the thread that is waited for may not be running, and the
others burn its turn: some processes then take tens of times longer for each step. A short spin,
then sleep, costs some speed on a quiet machine and is never caught in that.
`benchmarks/busy_machine.py` measures it.
"""

from __future__ import annotations

import os
import sys

SPIN_VARIABLE = "GOMP_SPINCOUNT"
SPINS = "1000"


def share_processor() -> None:
    """Ask for short spins, unless torch is loaded already or the user chose otherwise."""
    if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault(SPIN_VARIABLE, SPINS)

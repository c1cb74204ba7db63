"""The process that gathers batches: told on stdin what is wanted, it fills shared memory.

It keeps no state that matters, ignores the signals that stop a run, since the run waits for its
batches until it has saved, and ends when its stdin does, however the run came to an end.
"""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

from traintime.data.image_reader import ImageReader

OF_THE_RUN = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")


def main() -> None:
    """Gather batches until stdin ends."""
    for name in OF_THE_RUN:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    setup = json.loads(sys.stdin.readline())
    slots = np.memmap(setup["memory"], np.uint8, "r+", shape=tuple(setup["shape"]))
    array = setup["array"]
    reader = ImageReader(Path(array) if array else None, slots.shape[2])
    for line in sys.stdin:
        request = json.loads(line)
        out = np.asarray(slots)[request["slot"]]
        print(json.dumps(asdict(reader.read(request["wanted"], out))), flush=True)


if __name__ == "__main__":
    main()

"""Warnings that this machine is about to be taken away: by its cloud, or by a scheduler."""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from time import monotonic
from types import TracebackType
from urllib.parse import urlsplit

from traintime.errors import InputError
from traintime.hardware.cloud import (
    ASK,
    DMI_FOLDER,
    METADATA_URL,
    MetadataService,
    Notice,
    cloud,
)

URL_VARIABLE = "TRAINTIME_PREEMPTION_URL"

# AWS recommends to ask every five seconds.
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
POLL_INTERVAL_S = 5.0
# A minute still leaves one of AWS's two, where the service was out of reach when it began.
LONGEST_INTERVAL_S = 60.0
ANSWER_TIMEOUT_S = 1.0
CLOSE_TIMEOUT_S = 0.8


class PreemptionWatch:
    """Asks the cloud's metadata service in a thread of its own whether this machine must go.

    Without a cloud nothing is asked. A service that is silent, slow or talks nonsense is asked
    less and less often, down to once a minute, and nothing is said.

    Args:
        on_warning: Called once, in the watch's thread, with a sentence: save and stop now.
        on_hint: Called, in the watch's thread, with a sentence about what may come, or comes later.
        dmi: Where Linux shows what the firmware says.
        interval_s: Seconds between two questions.

    Raises:
        InputError: TRAINTIME_PREEMPTION_URL is no base URL.
    """

    def __init__(
        self,
        on_warning: Callable[[str], None],
        on_hint: Callable[[str], None] | None = None,
        *,
        dmi: Path = DMI_FOLDER,
        interval_s: float = POLL_INTERVAL_S,
    ) -> None:
        self._on_warning = on_warning
        self._on_hint = on_hint
        self._interval_s = interval_s
        self._closed = threading.Event()
        url = _url_of_the_environment()
        # A private cloud does not say whom it mimics, so it is asked in every way.
        asked = ASK if url else {cloud(dmi)}
        self._asked = [ask for name, ask in ASK.items() if name in asked]
        self._service = MetadataService(url or METADATA_URL, ANSWER_TIMEOUT_S)
        self._thread = threading.Thread(target=self._run, name="preemption-watch", daemon=True)
        if self._asked:
            self._thread.start()

    def __enter__(self) -> PreemptionWatch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def is_running(self) -> bool:
        """Whether anybody is asked."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Stop within a second; nobody is called afterwards."""
        self._closed.set()
        if self.is_running and threading.current_thread() is not self._thread:
            # A thread that still waits for an answer ends with it, and with the process.
            self._thread.join(CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        first_seen: dict[Notice, float] = {}
        interval_s = self._interval_s
        while not self._closed.is_set():
            notices = self._ask()
            if notices is None:
                interval_s = min(2 * interval_s, LONGEST_INTERVAL_S)
            else:
                interval_s = self._interval_s
                now = monotonic()
                self._hint([notice for notice in notices if notice not in first_seen])
                first_seen = {notice: first_seen.get(notice, now) for notice in notices}
                due = [n for n in notices if now - first_seen[n] >= n.usable_s]
                if due:
                    self._warn(due[0])
                    return
            self._closed.wait(interval_s)

    def _ask(self) -> list[Notice] | None:
        """Return what there is to say, or None if nobody answered in a way that makes sense."""
        answers: list[list[Notice]] = []
        for ask in self._asked:
            try:
                answers.append(ask(self._service))
            except (OSError, HTTPException, ValueError):
                continue
        return [notice for answer in answers for notice in answer] if answers else None

    def _hint(self, notices: list[Notice]) -> None:
        for notice in notices:
            if notice.usable_s and self._on_hint and not self._closed.is_set():
                self._on_hint(notice.sentence)

    def _warn(self, notice: Notice) -> None:
        if not self._closed.is_set():
            self._on_warning(notice.sentence)


def _url_of_the_environment() -> str | None:
    url = os.environ.get(URL_VARIABLE)
    if not url:
        return None
    try:
        parts = urlsplit(url)
        usable = parts.scheme == "http" and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise InputError(
            f"{URL_VARIABLE} is '{url}', and has to be the base URL of a metadata service, such as "
            f"{METADATA_URL}. Set it so, or type: unset {URL_VARIABLE}"
        )
    return url


def slurm_end_time() -> float | None:
    """Return when Slurm ends this job, in seconds since 1970, or None if that is not known.

    References:
        `SLURM_JOB_END_TIME` in https://slurm.schedmd.com/sbatch.html; older versions lack it.
    """
    try:
        end = float(os.environ["SLURM_JOB_END_TIME"])
    except (KeyError, ValueError):
        return None
    return end if math.isfinite(end) and end > 0 else None


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that mean "save and stop" here.

    Ctrl-C and SIGTERM always do. The others do where the platform has them and nobody else
    answers them: SIGHUP is a closed terminal, unless `nohup` made it ignored; schedulers send
    SIGUSR1 or SIGUSR2 ahead of the end of a job (`sbatch --signal=USR1@120`), and SIGXCPU at its
    soft limit; SIGBREAK is Ctrl-Break of Windows.
    """
    always = (signal.SIGINT, signal.SIGTERM)
    if_free = ("SIGBREAK", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
    there = [signal.Signals[name] for name in if_free if name in signal.Signals.__members__]
    return (*always, *(one for one in there if signal.getsignal(one) == signal.SIG_DFL))

"""Make the README's pictures: the demo while it trains and at its end, its report, a watched run.

    python scripts/make_pictures.py

Runs the real demo in a terminal of tmux, reads the screen with its colours, and draws it with rich;
takes the report's picture with a headless Chromium. Needs tmux and chromium.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

import traintime
from traintime.clock.run_state import RunState
from traintime.report.watch_view import watch_view

IMAGES = Path(__file__).parents[1] / "docs" / "images"
COLUMNS, LINES = 118, 60
SESSION = "traintime-pictures"
DONE = "· report:"
WATCHED = ("data=digits", "model=lenet", "epochs=600", "target=accuracy:0.999", "device=cpu")


def main() -> None:
    """Make all four pictures."""
    for tool in ("tmux", "chromium"):
        if shutil.which(tool) is None:
            raise SystemExit(f"The pictures need {tool}; install it with your package manager.")
    IMAGES.mkdir(parents=True, exist_ok=True)
    traintime.machine()  # measured before, so that the picture is of the demo alone
    with tempfile.TemporaryDirectory() as folder:
        training, ended = _film_the_demo(Path(folder))
        _draw(training, IMAGES / "training.svg")
        _draw(ended, IMAGES / "terminal.svg")
        (report,) = Path(folder).glob("runs/*/report.html")
        _photograph(report, IMAGES / "report.png")
    with tempfile.TemporaryDirectory() as folder:
        _draw_a_watched_run(Path(folder), IMAGES / "watch.svg")


def _film_the_demo(folder: Path) -> tuple[str, str]:
    """Return the screen in the middle of the training, and when everything is done."""
    command = f"{Path(sys.executable).parent / 'traintime'} demo; sleep 60"
    size = ["-x", str(COLUMNS), "-y", str(LINES)]
    start = ["tmux", "new-session", "-d", "-s", SESSION, *size, "-c", str(folder), command]
    subprocess.run(start, check=True)
    try:
        training = ""
        for _ in range(1200):
            time.sleep(0.1)
            screen = _screen()
            if "epoch 2/" in screen and "samples/s" in screen:
                training = screen
            if DONE in screen:
                return training, screen
        raise SystemExit("The demo did not end within two minutes.")
    finally:
        subprocess.run(["tmux", "kill-session", "-t", SESSION], check=False)


def _screen() -> str:
    capture = ["tmux", "capture-pane", "-e", "-p", "-t", SESSION]
    return subprocess.run(capture, capture_output=True, text=True, check=True).stdout.rstrip()


def _draw(screen: str, path: Path) -> None:
    lines = screen.splitlines()
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True)
    console.print(Text("$ traintime demo", "bold"))
    console.print(Text.from_ansi("\n".join(lines).strip("\n")))
    path.write_text(console.export_svg(title="traintime demo"), encoding="utf-8")


def _draw_a_watched_run(folder: Path, path: Path) -> None:
    """Train a small model, lower its learning rate on the way, and draw how it is watched."""
    command = [str(Path(sys.executable).parent / "traintime"), "train", *WATCHED]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as training:
        state = _watched_until(folder, 0.35)
        traintime.steer_run(str(state.folder), "set", lr=0.01)
        state = _watched_until(folder, 0.75)
        training.terminate()
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True)
    console.print(Text("$ traintime runs watch", "bold"))
    console.print(watch_view(state, COLUMNS, 36))
    path.write_text(console.export_svg(title="traintime runs watch"), encoding="utf-8")


def _watched_until(folder: Path, share: float) -> RunState:
    for _ in range(1200):
        time.sleep(0.1)
        for run in folder.glob("runs/*/forecast.json"):
            state = traintime.watch_run(str(run.parent))
            if state.share_done >= share or state.is_over:
                return state
    raise SystemExit("The watched run did not come so far within two minutes.")


def _photograph(report: Path, path: Path) -> None:
    with tempfile.TemporaryDirectory() as profile:
        command = [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", f"--user-data-dir={profile}", "--hide-scrollbars",
            "--force-device-scale-factor=1", "--window-size=1100,1500", f"--screenshot={path}",
            report.resolve().as_uri(),
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)


if __name__ == "__main__":
    main()

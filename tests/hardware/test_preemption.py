import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from time import perf_counter, sleep, time

import pytest

from traintime.errors import InputError
from traintime.hardware import cloud as clouds
from traintime.hardware import preemption
from traintime.hardware.cloud import AZURE_CHASSIS, cloud
from traintime.hardware.preemption import (
    URL_VARIABLE,
    PreemptionWatch,
    slurm_end_time,
    stop_signals,
)

FIRMWARE = {
    "aws": {"sys_vendor": "Amazon EC2", "product_name": "g5.xlarge", "board_asset_tag": "i-0abc"},
    "gcp": {"sys_vendor": "Google", "product_name": "Google Compute Engine"},
    "azure": {"sys_vendor": "Microsoft Corporation", "chassis_asset_tag": AZURE_CHASSIS},
}

TOKEN = "/latest/api/token"
SPOT = "/latest/meta-data/spot/instance-action"
REBALANCE = "/latest/meta-data/events/recommendations/rebalance"
PREEMPTED = "/computeMetadata/v1/instance/preempted"
MAINTENANCE = "/computeMetadata/v1/instance/maintenance-event"
EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"


class Service(ThreadingHTTPServer):
    """A metadata service as strict about headers as the three clouds are."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, str] = {}
        self.asked: list[str] = []
        self.status = 200
        self.hangs = False
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def wait_for(self, polls_of: str, count: int) -> None:
        limit = perf_counter() + 2
        while self.asked.count(polls_of) < count:
            assert perf_counter() < limit, f"{polls_of} was asked for too rarely"
            sleep(0.005)


class _Handler(BaseHTTPRequestHandler):
    server: Service

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.server.hangs:
            self.server.released.wait(5)
        self._answer(self.server.answers.get(self.path) if self._may_ask() else None)

    def do_PUT(self) -> None:
        has_lifetime = "X-aws-ec2-metadata-token-ttl-seconds" in self.headers
        self._answer("secret" if self.path == TOKEN and has_lifetime else None)

    def _may_ask(self) -> bool:
        if self.path.startswith("/latest"):
            return self.headers["X-aws-ec2-metadata-token"] == "secret"
        if self.path.startswith("/computeMetadata"):
            return self.headers["Metadata-Flavor"] == "Google"
        return self.headers["Metadata"] == "true"

    def _answer(self, text: str | None) -> None:
        body = (text or "").encode()
        self.send_response(self.server.status if text is not None else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def service(monkeypatch) -> Generator[Service]:
    with Service() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.delenv(URL_VARIABLE, raising=False)
        monkeypatch.setattr(preemption, "METADATA_URL", server.url)
        yield server
        server.released.set()
        server.shutdown()


@contextmanager
def watch(folder: Path, name: str) -> Generator[tuple[Queue[str], Queue[str]]]:
    """Watch on a machine of a cloud; yields its warnings and its hints."""
    warnings, hints = Queue[str](), Queue[str]()
    dmi = machine_of(folder, FIRMWARE[name])
    with PreemptionWatch(warnings.put, hints.put, dmi=dmi, interval_s=0.02):
        yield warnings, hints


def machine_of(folder: Path, says: dict[str, str]) -> Path:
    for name, text in says.items():
        (folder / name).write_text(f"{text}\n")
    return folder


@pytest.mark.parametrize("name", FIRMWARE)
def test_the_firmware_tells_which_cloud_a_machine_is_of(tmp_path: Path, name: str):
    assert cloud(machine_of(tmp_path, FIRMWARE[name])) == name


def test_an_older_machine_of_aws_is_known_by_its_bios(tmp_path: Path):
    says = {"sys_vendor": "Xen", "product_name": "HVM domU", "bios_version": "4.2.amazon"}
    assert cloud(machine_of(tmp_path, says)) == "aws"


@pytest.mark.parametrize(
    "says",
    [
        {},
        {"sys_vendor": "Dell Inc.", "product_name": "XPS 13"},
        {"sys_vendor": "Microsoft Corporation", "product_name": "Virtual Machine"},
        {"sys_vendor": "Google", "product_name": "Eve"},
    ],
)
def test_a_machine_at_home_is_of_no_cloud(tmp_path: Path, says: dict[str, str]):
    assert cloud(machine_of(tmp_path, says)) is None


def test_firmware_that_cannot_be_read_is_of_no_cloud(tmp_path: Path):
    (tmp_path / "sys_vendor").write_bytes(b"\xff\xfe")
    assert cloud(tmp_path) is None


def test_nobody_is_asked_without_a_cloud(tmp_path: Path, monkeypatch):
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    with PreemptionWatch(pytest.fail, dmi=tmp_path) as here:
        assert not here.is_running


def test_aws_says_nothing_and_then_takes_a_spot_instance_away(service: Service, tmp_path: Path):
    with watch(tmp_path, "aws") as (warnings, hints):
        service.wait_for(SPOT, 3)
        assert warnings.empty()
        service.answers[SPOT] = '{"action": "terminate", "time": "2026-11-20T12:03:00Z"}'
        assert warnings.get(timeout=2) == "AWS takes this spot instance away at 12:03:00 UTC"
        sleep(0.1)
        assert warnings.empty()  # once
        assert hints.empty()


def test_a_recommendation_of_aws_is_said_once_and_stops_nothing(service: Service, tmp_path: Path):
    service.answers[REBALANCE] = '{"noticeTime": "2026-11-20T12:03:00Z"}'
    with watch(tmp_path, "aws") as (warnings, hints):
        assert "higher risk" in hints.get(timeout=2)
        service.wait_for(REBALANCE, 5)
        assert warnings.empty()
        assert hints.empty()


def test_google_preempts_a_spot_machine(service: Service, tmp_path: Path):
    service.answers |= {PREEMPTED: "FALSE", MAINTENANCE: "NONE"}
    with watch(tmp_path, "gcp") as (warnings, _):
        service.wait_for(MAINTENANCE, 3)
        assert warnings.empty()
        service.answers[PREEMPTED] = "TRUE"
        assert "Google Cloud takes this spot machine away" in warnings.get(timeout=2)


def test_google_stops_a_machine_without_a_gpu_a_minute_after_its_notice(
    service: Service, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(clouds, "GPU_OF_A_MACHINE", tmp_path / "none")
    service.answers |= {PREEMPTED: "FALSE", MAINTENANCE: "TERMINATE_ON_HOST_MAINTENANCE"}
    with watch(tmp_path, "gcp") as (warnings, hints):
        assert "for maintenance within a minute" in warnings.get(timeout=2)
        assert hints.empty()


def test_the_hour_that_google_gives_a_gpu_is_used_for_training(
    service: Service, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(clouds, "GPU_OF_A_MACHINE", tmp_path)
    monkeypatch.setattr(clouds, "USABLE_AFTER_GPU_NOTICE_S", 0.3)
    service.answers |= {PREEMPTED: "FALSE", MAINTENANCE: "TERMINATE_ON_HOST_MAINTENANCE"}
    with watch(tmp_path, "gcp") as (warnings, hints):
        assert "an hour ahead" in hints.get(timeout=2)
        began = perf_counter()
        assert "an hour ahead" in warnings.get(timeout=2)
        assert perf_counter() - began > 0.2
        assert hints.empty()


def azure_event(kind: str, machine: str, not_before: str) -> str:
    event = {"EventType": kind, "Resources": [machine], "NotBefore": not_before}
    return json.dumps({"DocumentIncarnation": 2, "Events": [event]})


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("Preempt", "Azure takes this spot machine away"),
        ("Terminate", "Azure deletes this machine"),
    ],
)
def test_azure_says_when_it_takes_a_machine_away(
    service: Service, tmp_path: Path, kind: str, says: str
):
    service.answers |= {EVENTS: '{"DocumentIncarnation": 1, "Events": []}', NAME: "worker_0"}
    with watch(tmp_path, "azure") as (warnings, _):
        service.wait_for(EVENTS, 3)
        assert warnings.empty()
        service.answers[EVENTS] = azure_event(kind, "worker_0", "Mon, 19 Sep 2016 18:29:47 GMT")
        assert warnings.get(timeout=2) == f"{says} at 18:29:47 UTC"


def test_an_event_that_has_begun_has_no_time(service: Service, tmp_path: Path):
    service.answers[EVENTS] = azure_event("Preempt", "worker_0", "")
    with watch(tmp_path, "azure") as (warnings, _):
        assert warnings.get(timeout=2) == "Azure takes this spot machine away"


@pytest.mark.parametrize(("kind", "machine"), [("Preempt", "worker_1"), ("Freeze", "worker_0")])
def test_events_of_other_machines_and_short_freezes_stop_nothing(
    service: Service, tmp_path: Path, kind: str, machine: str
):
    service.answers |= {EVENTS: azure_event(kind, machine, ""), NAME: "worker_0"}
    with watch(tmp_path, "azure") as (warnings, _):
        service.wait_for(EVENTS, 3)
        assert warnings.empty()


@pytest.mark.parametrize(
    ("path", "notice", "says"),
    [
        (SPOT, '{"action": "terminate", "time": ""}', "AWS takes"),
        (PREEMPTED, "TRUE", "Google Cloud takes"),
        (EVENTS, azure_event("Preempt", "", ""), "Azure takes"),
    ],
)
def test_a_private_cloud_is_asked_in_every_way(
    service: Service, tmp_path: Path, monkeypatch, path: str, notice: str, says: str
):
    monkeypatch.setenv(URL_VARIABLE, service.url)
    monkeypatch.setattr(preemption, "METADATA_URL", "http://nobody.invalid")
    service.answers[path] = notice
    warnings = Queue[str]()
    with PreemptionWatch(warnings.put, dmi=tmp_path, interval_s=0.02):
        assert says in warnings.get(timeout=2)


def test_metadata_never_goes_through_a_proxy(service: Service, tmp_path: Path, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    service.answers[PREEMPTED] = "TRUE"
    with watch(tmp_path, "gcp") as (warnings, _):
        warnings.get(timeout=2)


@pytest.mark.parametrize("nonsense", ["<html>Log in</html>", "[]", '{"action": []}', "{}", ""])
@pytest.mark.parametrize("name", FIRMWARE)
def test_a_service_that_talks_nonsense_says_nothing_and_may_recover(
    service: Service, tmp_path: Path, name: str, nonsense: str
):
    asked = {"aws": SPOT, "gcp": PREEMPTED, "azure": EVENTS}[name]
    service.answers[asked] = nonsense
    with watch(tmp_path, name) as (warnings, _):
        service.wait_for(asked, 2)
        assert warnings.empty()
        service.answers |= {
            SPOT: '{"action": "stop", "time": "soon"}',
            PREEMPTED: "TRUE",
            EVENTS: azure_event("Preempt", "", ""),
        }
        assert (
            " away" in (said := warnings.get(timeout=2)) or said == "AWS stops this spot instance"
        )


def test_a_service_that_refuses_is_asked_less_and_less(service: Service, tmp_path: Path):
    service.answers[EVENTS] = "closed"
    service.status = 503
    with watch(tmp_path, "azure") as (warnings, _):
        sleep(0.8)
        # At 0, 0.04, 0.12, 0.28 and 0.6 s, where an answer would have been asked for 40 times.
        assert 3 <= len(service.asked) <= 6
        assert warnings.empty()


def test_a_service_that_is_not_there_says_nothing(service: Service, tmp_path: Path):
    service.shutdown()
    service.server_close()
    with watch(tmp_path, "aws") as (warnings, _):
        sleep(0.2)
        assert warnings.empty()


def test_a_service_that_hangs_does_not_hold_up_the_end_of_a_run(service: Service, tmp_path: Path):
    service.answers[PREEMPTED] = "TRUE"
    service.hangs = True
    with watch(tmp_path, "gcp") as (warnings, _):
        service.wait_for(PREEMPTED, 1)
        began = perf_counter()
    assert perf_counter() - began < 1
    service.released.set()
    sleep(0.1)
    assert warnings.empty()  # what comes after the end is for nobody


@pytest.mark.parametrize("url", ["169.254.169.254", "https://metadata", "http://", "http://a:b"])
def test_a_url_that_is_none_is_the_users_mistake(tmp_path: Path, monkeypatch, url: str):
    monkeypatch.setenv(URL_VARIABLE, url)
    with pytest.raises(InputError, match=rf"is '{url}'.*http://169.254.169.254.*unset"):
        PreemptionWatch(pytest.fail, dmi=tmp_path)


def test_slurm_says_when_a_job_ends(monkeypatch):
    ends = int(time()) + 3600
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(ends))
    assert slurm_end_time() == ends


@pytest.mark.parametrize("text", [None, "", "UNLIMITED", "nan", "inf", "0"])
def test_without_a_time_from_slurm_a_job_has_no_known_end(monkeypatch, text: str | None):
    monkeypatch.delenv("SLURM_JOB_END_TIME", raising=False)
    if text is not None:
        monkeypatch.setenv("SLURM_JOB_END_TIME", text)
    assert slurm_end_time() is None


SHOW = "from traintime.hardware.preemption import stop_signals as s; print(*[n.name for n in s()])"


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_schedulers_and_terminals_can_stop_a_run():
    # Whoever runs the tests may do so under nohup.
    code = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL); {SHOW}"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU"]


@pytest.mark.skipif(shutil.which("nohup") is None, reason="no nohup")
def test_nohup_keeps_a_run_going_when_the_terminal_closes():
    command = ["nohup", sys.executable, "-c", SHOW]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "SIGHUP" not in shown.stdout
    assert "SIGUSR1" in shown.stdout


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_signal_that_another_library_answers_is_left_to_it():
    before = signal.signal(signal.SIGUSR2, lambda *_: None)
    try:
        assert signal.SIGUSR2 not in stop_signals()
        assert signal.SIGUSR1 in stop_signals()
    finally:
        signal.signal(signal.SIGUSR2, before)


DOCS = Path(__file__).parents[2] / "docs"


def batch_scripts() -> list[str]:
    """Return what the docs tell users to submit, whole script first."""
    pages = [page.read_text() for page in sorted(DOCS.glob("reliability*.md"))]
    blocks = [block.partition("```")[0] for page in pages for block in page.split("```bash\n")[1:]]
    return [block for block in blocks if "#SBATCH" in block]


def play_commands(folder: Path, **scripts: str) -> dict[str, str]:
    """Return an environment in which some commands are played by scripts."""
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/bash\n{script}\n")
        (folder / name).chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(folder)}


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_the_batch_script_of_the_docs_resumes_its_own_run_until_it_is_done(tmp_path: Path):
    environment = play_commands(
        tmp_path,
        srun='"$@"',
        scontrol='echo "scontrol $*" >> said',
        traintime='echo "traintime $1 $2 $3" >> said; mkdir -p "$TRAINTIME_HOME/runs"; exit $CODE',
    )

    def turn(code: int) -> tuple[int, list[str]]:
        (tmp_path / "said").write_text("")
        ended = subprocess.run(
            ["bash", "-c", batch_scripts()[0]],
            env={**environment, "SLURM_JOB_ID": "7", "CODE": str(code)},
            cwd=tmp_path,
            check=False,
        )
        return ended.returncode, (tmp_path / "said").read_text().splitlines()

    assert turn(143) == (143, ["traintime train data=cifar10 model=resnet18", "scontrol requeue 7"])
    assert turn(143) == (143, ["traintime runs resume latest", "scontrol requeue 7"])
    assert turn(0) == (0, ["traintime runs resume latest"])
    assert turn(2) == (2, ["traintime runs resume latest"])


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_the_batch_script_without_srun_passes_the_signal_on_and_waits_for_the_checkpoint(
    tmp_path: Path,
):
    environment = play_commands(
        tmp_path,
        traintime="trap 'sleep 0.2; echo saved; exit 143' TERM\n"
        "echo up; while :; do sleep 0.02; done",
    )
    script = f'{batch_scripts()[1]}\necho "code $code"'
    with subprocess.Popen(
        ["bash", "-c", script], env=environment, stdout=subprocess.PIPE, text=True
    ) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == "up\n"
        sleep(0.1)
        job.send_signal(signal.SIGUSR1)
        assert job.stdout.read() == "saved\ncode 143\n"

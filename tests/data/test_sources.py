import errno
import gzip
import io
import subprocess
import sys
import tarfile
import urllib.error
import zipfile
from dataclasses import replace
from email.message import Message
from http.client import IncompleteRead

import pytest

from traintime.data import sources
from traintime.data.catalogue import Source, find
from traintime.data.sources import SourceError, obtain

ADDRESS = "https://one.invalid/folder/train-images-idx3-ubyte.gz"
WEB = Source("web", "https", "idx", (ADDRESS, ADDRESS.replace("one", "two")))
MNIST = find("mnist")


class Response(io.BytesIO):
    pass


@pytest.fixture
def web(monkeypatch):
    """What the web answers, whatever is asked, and the addresses that were."""
    asked = []

    def answer_with(answer):
        def urlopen(address, timeout):
            asked.append(address)
            assert timeout <= 6
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(sources.urllib.request, "urlopen", urlopen)
        return asked

    return answer_with


@pytest.mark.parametrize(
    "error",
    [urllib.error.URLError(OSError("no such host")), TimeoutError(), ConnectionRefusedError()],
)
def test_after_one_host_refused_no_other_is_waited_for(web, tmp_path, error):
    asked = web(error)
    with pytest.raises(SourceError, match=r"^not reachable$"):
        obtain(WEB, MNIST, tmp_path)
    with pytest.raises(SourceError, match=r"not reachable \(one.invalid was not either\)"):
        obtain(replace(WEB, what=WEB.what[1:]), MNIST, tmp_path)
    assert asked == [ADDRESS]


def test_a_host_that_answers_no_is_named_and_does_not_mean_no_network(web, tmp_path):
    web(urllib.error.HTTPError(ADDRESS, 404, "Not Found", Message(), io.BytesIO()))
    with pytest.raises(SourceError, match=r"one\.invalid answered 404 Not Found"):
        obtain(WEB, MNIST, tmp_path)
    assert not sources._refused_hosts


def test_a_download_that_breaks_off_is_a_reason_not_a_crash(web, tmp_path):
    response = Response()
    response.read = lambda size: (_ for _ in ()).throw(IncompleteRead(b""))
    web(response)
    with pytest.raises(SourceError, match=r"one\.invalid stopped sending"):
        obtain(WEB, MNIST, tmp_path)


@pytest.mark.parametrize("content", [b"", b"not gzip", gzip.compress(b"\0\0\10\1" * 90)[:-20]])
def test_a_file_that_cannot_be_read_is_a_reason(web, tmp_path, content):
    web(Response(content))
    with pytest.raises(SourceError, match=r"what came cannot be read"):
        obtain(replace(WEB, what=WEB.what[:1]), MNIST, tmp_path)


def test_a_missing_file_is_a_reason(web, tmp_path):
    web(Response(b"x"))
    with pytest.raises(SourceError, match=r"holds no file data_batch_1\.bin"):
        obtain(replace(WEB, form="cifar-bin", what=WEB.what[:1]), find("cifar10"), tmp_path)


def test_a_full_disk_is_not_taken_for_a_damaged_file(monkeypatch, tmp_path):
    def full(archive, folder):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "a.tgz").write_bytes(b"")
    monkeypatch.setattr(sources, "_unpack", full)
    with pytest.raises(OSError, match="No space left"):
        obtain(replace(WEB, what=()), MNIST, tmp_path)


@pytest.mark.parametrize("name", ["a.tgz", "a.tar.gz", "a.whl", "a.zip"])
def test_damaged_archives_are_a_reason(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK\3\4 or not")
    with pytest.raises(SourceError, match=r"what came cannot be read"):
        obtain(replace(WEB, what=()), MNIST, tmp_path)


def test_archives_are_unpacked_below_the_folder(tmp_path):
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("package/inner"))
    with zipfile.ZipFile(tmp_path / "b.whl", "w") as packed:
        packed.writestr("other/inner", "x")
    for archive in ("a.tgz", "b.whl"):
        sources._unpack(tmp_path / archive, tmp_path)
    assert (tmp_path / "package/inner").exists()
    assert (tmp_path / "other/inner").exists()


def test_an_archive_that_points_outside_is_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../outside"))
    with pytest.raises(SourceError, match=r"what came cannot be read"):
        obtain(replace(WEB, what=()), MNIST, tmp_path)
    assert not (tmp_path.parent / "outside").exists()


@pytest.mark.parametrize(("how", "client"), [("npm", "npm"), ("apt", "apt-get")])
def test_a_client_that_is_not_installed_is_a_reason(monkeypatch, tmp_path, how, client):
    monkeypatch.setattr(sources.shutil, "which", lambda name: None)
    with pytest.raises(SourceError, match=f"there is no {client} on this machine"):
        obtain(replace(WEB, how=how, what=("x",)), MNIST, tmp_path)


@pytest.fixture
def client(monkeypatch):
    """Let every client be there, end as given, and note what it was told."""
    commands = []

    def ends_with(returncode, stderr=""):
        def run(command, **options):
            commands.append(command)
            return subprocess.CompletedProcess(command, returncode, "", stderr)

        monkeypatch.setattr(sources.shutil, "which", lambda name: f"/bin/{name}")
        monkeypatch.setattr(sources.subprocess, "run", run)
        return commands

    return ends_with


@pytest.mark.parametrize(
    ("how", "start"),
    [
        ("npm", ["/bin/npm", "pack", "name@1"]),
        ("pip", [sys.executable, "-m", "pip", "download"]),
        ("apt", ["/bin/apt-get", "download"]),
    ],
)
def test_packages_are_got_by_name_through_their_clients(client, tmp_path, how, start):
    commands = client(0)
    with pytest.raises(SourceError, match="it holds no file"):
        obtain(replace(WEB, how=how, what=("name@1",)), MNIST, tmp_path)
    assert commands[0][: len(start)] == start
    assert "name@1" in commands[0]


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("npm warn old\nnpm error code E404\nnpm error more", "npm error code E404"),
        ("WARNING: x\nERROR: No matching distribution\n", "ERROR: No matching distribution"),
        ("E: Unable to locate package x", "E: Unable to locate package x"),
        ("/bin/python: No module named pip", "/bin/python: No module named pip"),
        ("what?\n\n", "what?"),
        ("", "it gave no reason"),
    ],
)
def test_the_reason_of_a_client_is_told_in_one_line(client, tmp_path, output, reason):
    client(1, output)
    with pytest.raises(SourceError) as refused:
        obtain(replace(WEB, how="npm", what=("x",)), MNIST, tmp_path)
    assert str(refused.value) == f"npm failed: {reason}"


def test_a_client_that_hangs_is_given_up(monkeypatch, client, tmp_path):
    client(0)

    def hang(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(sources.subprocess, "run", hang)
    with pytest.raises(SourceError, match="npm had not finished after 900 s"):
        obtain(replace(WEB, how="npm", what=("x",)), MNIST, tmp_path)

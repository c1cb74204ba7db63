import platform
import subprocess
import sys

import pytest

from traintime.hardware import allocator
from traintime.hardware.allocator import keep_freed_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_glibc_takes_the_setting():
    code = "from traintime.hardware.allocator import keep_freed_memory as keep; assert keep()"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("system", "libc"), [("Darwin", ""), ("Windows", ""), ("Linux", "musl")])
def test_other_c_libraries_are_left_alone(monkeypatch, system: str, libc: str):
    monkeypatch.setattr(allocator.platform, "system", lambda: system)
    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: (libc, ""))
    assert not keep_freed_memory()

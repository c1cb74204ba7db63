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


BEFORE_AND_AFTER = """
from traintime.hardware.allocator import keep_freed_memory, peak_resident_bytes, start_peak_anew
keep_freed_memory()
block = bytearray(400 * 2**20)
del block
before = peak_resident_bytes()
start_peak_anew()
print(before, peak_resident_bytes())
"""


@pytest.mark.skipif(platform.system() != "Linux", reason="Linux alone resets the peak")
def test_what_ran_before_does_not_count_as_the_peak():
    printed = subprocess.check_output([sys.executable, "-c", BEFORE_AND_AFTER], text=True)
    before, after = map(int, printed.split())
    assert before > 400 * 2**20
    assert after < 100 * 2**20

import subprocess
import sys
from time import process_time, sleep

import psutil

from traintime.hardware.contention import Contention, watch_contention


def test_processor_time_of_the_block_is_this_process_s_own():
    with watch_contention() as watch:
        end = process_time() + 0.05
        while process_time() < end:
            pass
    assert watch.seen.own_cpu_s >= 0.05
    assert watch.seen.wall_s >= 0.05


def test_sleeping_is_not_waiting_for_others():
    with watch_contention() as watch:
        sleep(0.1)
    assert watch.seen.waited_share < 0.5
    assert watch.seen.cores_used < 0.5


def test_another_busy_process_is_named():
    spinner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        while psutil.Process(spinner.pid).cpu_times().user < 0.05:
            sleep(0.01)
        with watch_contention() as watch:
            sleep(0.5)
    finally:
        spinner.kill()
        spinner.wait()
    assert watch.seen.busiest
    assert watch.seen.busiest_cores > 0.05


def test_where_the_system_does_not_tell_nothing_was_waited():
    assert Contention(1.0, 0.5, None, 0.0).waited_share == 0.0

"""Recognising that memory ran out, and doing the same work in smaller parts."""

from __future__ import annotations

import errno
import gc
import re
import sys
from collections.abc import Callable
from typing import TypeVar

from traintime.hardware.allocator import give_back_freed_memory

T = TypeVar("T")

WORDS = re.compile(
    "out of memory"  # CUDA, HIP, MPS
    "|insufficient memory"  # Metal
    "|alloc_failed"  # cuBLAS and cuDNN
    "|can't allocate memory|not enough memory"  # torch on a CPU, which has no error type for it
    "|bad allocation|bad_alloc"
    "|could not create a memory object"  # oneDNN
    "|could not create a primitive(?! descriptor)"  # of a descriptor: it knows no such operation
    "|cannot allocate memory"
)


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory ran out: on a CPU its words alone tell."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, RuntimeError):
        return WORDS.search(str(error).lower()) is not None
    return isinstance(error, MemoryError)


def free_memory() -> None:
    """Give back what nobody uses: what is left of the attempt that failed, and what is cached.

    A heap that has grown to the limit leaves none to what is mapped, however much of it is free:
    kernels that are compiled, the stacks of threads.
    """
    gc.collect()
    give_back_freed_memory()
    torch = sys.modules.get("torch")  # this file is read where torch is not needed
    if torch and torch.cuda.is_available():
        torch.cuda.empty_cache()


def in_smaller_parts(attempt: Callable[[], T], shrink: Callable[[], bool]) -> T:
    """Return what an attempt returns, made again with less memory each time that it runs out.

    Args:
        attempt: What is tried; it must leave nothing half done when memory runs out.
        shrink: Makes the next attempt need less; returns False if it cannot be made smaller.

    Raises:
        RuntimeError: Memory ran out in the smallest parts, too; or MemoryError.
    """
    while True:
        try:
            return attempt()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            failed = error.with_traceback(None)  # its frames hold the tensors of the attempt
        free_memory()
        if not shrink():
            raise failed

"""The heap of a process as glibc's malloc hands it out and takes it back, address by address.

Freed blocks leave holes that later ones do not fit, so a process holds more memory than is ever in
use at once. Torch takes every tensor's data by `posix_memalign(64)`, for which glibc looks for a
hole 112 bytes larger and hands what is left over on either side to whoever wants little: the small
objects around a tensor. These stay when the tensor goes, so the next tensor of the same size finds
a hole too small by a few bytes.

References:
    glibc 2.36, malloc/malloc.c: `_int_malloc`, `_int_free`, `_int_memalign`, `malloc_consolidate`.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

HEADER_BYTES, LEAST_BYTES, UNIT_BYTES = 8, 32, 16
"""Of a chunk: a block and the header before it."""
ALIGNED_TO = 64
"""What torch and oneDNN ask for: c10::gAlignment."""
TOP_PAD_BYTES, PAGE_BYTES = 2**17, 4096
"""By more than was asked for the top grows, and in steps of a page."""
CACHED_UP_TO, CACHED_OF_A_SIZE = 1040, 7
"""What the thread's cache ("tcache") takes."""
FAST_UP_TO, SMALL_BELOW, CONSOLIDATE_FROM = 128, 1024, 65536
"""Largest chunk of a fast bin, least one of a large bin, and the free chunk that empties the fast
bins when it comes about."""


class Heap:
    """glibc's main arena as it hands out and takes back blocks; it knows which pages were touched.

    Free chunks merge with free neighbours and wait in `_unsorted` until the next request, which
    sorts them by size and takes the smallest that suffices. Small ones are kept aside unmerged, in
    the thread's cache and in fast bins.
    """

    def __init__(self) -> None:
        self._touched = bytearray()
        self._top = UNIT_BYTES
        self._top_bytes = 0
        self._used: dict[int, int] = {}
        self._free: dict[int, int] = {}
        self._free_by_end: dict[int, int] = {}
        self._unsorted: dict[int, None] = {}
        self._sorted: list[tuple[int, int, int]] = []
        self._place: dict[int, int] = {}
        self._cached: dict[int, list[int]] = {}
        self._fast: dict[int, list[int]] = {}
        self._remainder = 0
        self._count = 0

    @property
    def touched_bytes(self) -> int:
        """Memory that the system had to give: it does so page by page, when one is written to."""
        return PAGE_BYTES * self._touched.count(1)

    def take(self, num_bytes: int) -> int:
        """Return the address of a block, as malloc would."""
        size = _chunk_bytes(num_bytes)
        if cached := self._cached.get(size):
            at = cached.pop()
        else:
            at, size = self._find(size)
        self._used[at] = size
        self._touch(at // PAGE_BYTES, -(-(at + size) // PAGE_BYTES))
        return at

    def take_aligned(
        self, num_bytes: int, written: Sequence[tuple[float, float]] = ((0.0, 1.0),)
    ) -> int:
        """Return the address of a block whose data begins at a multiple of 64.

        Args:
            num_bytes: Its size.
            written: The parts of it that are written to, as shares of its length.
        """
        size = _chunk_bytes(num_bytes)
        at, found = self._find(_chunk_bytes(size + ALIGNED_TO + LEAST_BYTES))
        ahead = -(at + UNIT_BYTES) % ALIGNED_TO
        if ahead:
            ahead += ALIGNED_TO if ahead < LEAST_BYTES else 0
            self._give(at, ahead)
            at, found = at + ahead, found - ahead
        if found > size + LEAST_BYTES:
            self._give(at + size, found - size)
            found = size
        self._used[at] = found
        for begin, end in written:
            low, high = at + round(begin * size), at + round(end * size)
            self._touch(low // PAGE_BYTES, -(-high // PAGE_BYTES))
        return at

    def give_back(self, at: int) -> None:
        """Free a block."""
        self._give(at, self._used.pop(at))

    def _touch(self, low: int, high: int) -> None:
        self._touched[low:high] = b"\x01" * (high - low)

    def _give(self, at: int, size: int) -> None:
        if size <= CACHED_UP_TO and len(self._room(size)) < CACHED_OF_A_SIZE:
            self._room(size).append(at)
            return
        if size <= FAST_UP_TO:
            self._fast.setdefault(size, []).append(at)
        elif self._merge(at, size) >= CONSOLIDATE_FROM:
            self._consolidate()

    def _merge(self, at: int, size: int) -> int:
        before = self._free_by_end.get(at)
        if before is not None:
            size += self._remove(before)
            at = before
        after = at + size
        if after == self._top:
            self._top = at
            self._top_bytes += size
            return size
        if after in self._free:
            size += self._remove(after)
        self._free[at] = size
        self._free_by_end[at + size] = at
        self._unsorted[at] = None
        return size

    def _remove(self, at: int) -> int:
        size = self._free.pop(at)
        del self._free_by_end[at + size]
        if at in self._unsorted:
            del self._unsorted[at]
        else:
            del self._sorted[bisect_left(self._sorted, (size, self._place.pop(at), at))]
        return size

    def _consolidate(self) -> None:
        fast, self._fast = self._fast, {}
        for size in sorted(fast):
            for at in reversed(fast[size]):
                self._merge(at, size)

    def _find(self, size: int) -> tuple[int, int]:
        at = self._kept_aside(size)
        if at is None:
            at = self._sort_until(size)
        if at is not None:
            return at, size
        index = bisect_left(self._sorted, (size,))
        if index < len(self._sorted):
            return self._split(self._sorted[index][2], size)
        if self._top_bytes < size + LEAST_BYTES:
            if self._fast:
                self._consolidate()
                return self._find(size)
            self._grow(size)
        at = self._top
        self._top += size
        self._top_bytes -= size
        return at, size

    def _kept_aside(self, size: int) -> int | None:
        """Take a small chunk of just this size; others like it move to the thread's cache."""
        if size >= SMALL_BELOW:
            self._consolidate()
            return None
        if fast := self._fast.get(size):
            at, room = fast.pop(), self._room(size)
            while fast and len(room) < CACHED_OF_A_SIZE:
                room.append(fast.pop())
            return at
        index, found = bisect_left(self._sorted, (size,)), list[int]()
        while index < len(self._sorted) and self._sorted[index][0] == size:
            if found and len(self._room(size)) + len(found) > CACHED_OF_A_SIZE:
                break
            found.append(self._sorted[index][2])
            self._remove(found[-1])
        if not found:
            return None
        self._room(size).extend(found[1:])
        return found[0]

    def _room(self, size: int) -> list[int]:
        """Return the chunks of a size that the thread's cache holds."""
        return self._cached.setdefault(size, [])

    def _sort_until(self, size: int) -> int | None:
        """Sort what was freed last; stop at a chunk of just this size."""
        cached = False
        while self._unsorted:
            at = next(iter(self._unsorted))
            found = self._free[at]
            alone = at == self._remainder and len(self._unsorted) == 1
            if alone and size < SMALL_BELOW and found > size + LEAST_BYTES:
                return self._split(at, size)[0]
            if found != size:
                del self._unsorted[at]
                self._sort_in(at, found)
                continue
            self._remove(at)
            if size > CACHED_UP_TO or len(self._room(size)) == CACHED_OF_A_SIZE:
                return at
            self._room(size).append(at)
            cached = True
        return self._cached[size].pop() if cached else None

    def _sort_in(self, at: int, size: int) -> None:
        """The oldest of equal small chunks is taken first, the newest of equal large ones."""
        self._count += 1
        place = self._place[at] = self._count if size < SMALL_BELOW else -self._count
        insort(self._sorted, (size, place, at))

    def _split(self, at: int, size: int) -> tuple[int, int]:
        found = self._remove(at)
        if found - size < LEAST_BYTES:
            return at, found
        rest = at + size
        self._free[rest] = found - size
        self._free_by_end[at + found] = rest
        self._unsorted[rest] = None
        if size < SMALL_BELOW:
            self._remainder = rest
        return at, size

    def _grow(self, size: int) -> None:
        wanted = size + TOP_PAD_BYTES + LEAST_BYTES - self._top_bytes
        grown = -(-wanted // PAGE_BYTES) * PAGE_BYTES
        self._top_bytes += grown
        self._touched.extend(bytes(grown // PAGE_BYTES + (not self._touched)))


def _chunk_bytes(num_bytes: int) -> int:
    return max(LEAST_BYTES, -(-(num_bytes + HEADER_BYTES) // UNIT_BYTES) * UNIT_BYTES)

import pytest

from traintime.hardware.glibc_heap import Heap

MIB = 2**20


def test_a_freed_block_is_found_again_while_nothing_lies_beside_it():
    heap = Heap()
    first = heap.take_aligned(MIB)
    heap.take(2000)  # keeps the hole from being part of the top
    before = heap.touched_bytes
    heap.give_back(first)
    assert heap.take_aligned(MIB - 128) == first
    assert heap.touched_bytes == before


def test_a_small_object_beside_a_hole_makes_it_too_small_for_the_same_size():
    heap = Heap()
    heap.take(1016)  # the data of the next begins 32 bytes late, which are given away ahead of it
    first = heap.take_aligned(MIB)
    heap.take(2000)
    heap.give_back(first)
    assert heap.take_aligned(MIB) > first + MIB


def test_data_begins_at_multiples_of_64():
    heap = Heap()
    for size in (1, 100, 5000):
        heap.take(size)
        assert (heap.take_aligned(size) + 16) % 64 == 0


def test_neighbours_that_are_free_become_one_hole():
    heap = Heap()
    one, two = heap.take(10_000), heap.take(10_000)
    heap.take(2000)
    heap.give_back(one)
    heap.give_back(two)
    assert heap.take(20_000) == one


def test_the_smallest_hole_that_suffices_is_taken():
    heap = Heap()
    blocks = []
    for size in (50_000, 20_000, 30_000):
        blocks.append(heap.take(size))
        heap.take(2000)
    for block in blocks:
        heap.give_back(block)
    assert heap.take(15_000) == blocks[1]


def test_only_the_parts_that_are_written_take_memory():
    heap = Heap()
    heap.take_aligned(100 * MIB, ((0.0, 0.25), (0.5, 0.75)))
    assert heap.touched_bytes == pytest.approx(50 * MIB, rel=0.01)


def test_a_small_block_that_was_freed_is_taken_from_the_cache_first():
    heap = Heap()
    first, second = heap.take(100), heap.take(100)
    heap.give_back(first)
    heap.give_back(second)
    assert [heap.take(100), heap.take(100)] == [second, first]


def test_what_is_at_the_top_is_taken_from_there_again():
    heap = Heap()
    for _ in range(3):
        heap.give_back(heap.take(MIB))
    assert heap.touched_bytes <= MIB + 2 * 4096

import torch

from traintime.workload.live_bytes import LiveBytes, address_of


def test_storages_count_in_blocks_of_512_while_something_refers_to_them():
    memory = LiveBytes()
    tensor = torch.zeros(1000)
    memory.see((tensor, tensor[:10]))
    assert memory.live == 4096
    view = tensor[1:]
    del tensor
    assert memory.live == 4096
    del view
    assert (memory.live, memory.peak) == (0, 4096)


def test_the_most_since_the_last_time_is_told_once():
    memory = LiveBytes()
    kept, gone = torch.zeros(100), torch.zeros(200)
    memory.see((kept, gone))
    del gone
    assert (memory.most_data_since(), memory.most_data_since()) == (400 + 800, 400)
    assert (memory.data, memory.live) == (400, 512)


def test_what_was_there_before_does_not_count():
    memory, weight = LiveBytes(), torch.zeros(1000)
    memory.ignore([weight])
    memory.see(weight.t())
    assert (memory.live, memory.unseen(weight)) == (0, [])


def test_an_address_that_is_used_again_is_new():
    memory, ended = LiveBytes(), []
    first, second = torch.zeros(1000), torch.zeros(2000)
    memory.watch(first, 4000, lambda: ended.append("first"))
    # as if the second lay where the first was, whose end has not been told
    here, there = (address_of(tensor.untyped_storage()) for tensor in (first, second))
    memory._seen[there] = memory._seen[here]
    assert memory.unseen(second)[0] is second
    memory.watch(second, 8000, lambda: ended.append("second"))
    assert (ended, memory.live) == (["first"], 8192)
    del first, second
    assert (ended, memory.live) == (["first", "second"], 0)


def test_each_new_storage_is_named_once_in_order():
    a, b = torch.zeros(1), torch.zeros(2)
    (first, second) = LiveBytes().unseen([b, a, b.t()])
    assert first is b
    assert second is a

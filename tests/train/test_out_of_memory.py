import errno
import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from traintime.errors import StoppedError
from traintime.train.checkpoints import load_latest
from traintime.train.loop import Loop
from traintime.train.out_of_memory import in_smaller_parts, is_out_of_memory
from traintime.train.signals import StopRequest
from traintime.train.stepper import MOST_PARTS

from .faults import NO_GPU_MEMORY, NO_MEMORY, Calls, Faulty
from .jobs import StopAt, Witness, make_job, state_of, train

MESSAGES = [
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 139.80 GiB",
    "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "HIP out of memory. Tried to allocate 20.00 MiB",
    "MPS backend out of memory (MPS allocated: 8.9 GB, other allocations: 1.1 GB)",
    "command buffer exited with error status. Insufficient Memory (00000008)",
    str(NO_MEMORY),
    "[enforce fail at alloc_cpu.cpp:81] data. DefaultCPUAllocator: not enough memory: you tried",
    "could not create a primitive",
    "could not create a memory object",
    "std::bad_alloc",
    "bad allocation",
]
OTHER_MESSAGES = [
    "shape mismatch: the tensor's memory format is channels_last",
    "unsupported memory format option Preserve",
    "CUDA error: an illegal memory access was encountered",
    "some elements of the input tensor and the written-to tensor refer to a single memory location",
    "could not create a primitive descriptor for a convolution forward propagation primitive",
    "DataLoader worker is killed by signal: Bus error. It is possible that dataloader's workers "
    "are out of shared memory",
    "out of resource: shared memory, Required: 147456, Hardware limit: 101376",
    "cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned",
    "expected scalar type Float but found BFloat16",
    "",
]


@pytest.mark.parametrize("message", MESSAGES)
def test_memory_that_ran_out_is_known_by_its_words(message: str) -> None:
    assert is_out_of_memory(RuntimeError(message))


@pytest.mark.parametrize("message", OTHER_MESSAGES)
def test_other_errors_are_not_taken_for_it(message: str) -> None:
    assert not is_out_of_memory(RuntimeError(message))


def test_errors_of_python_and_of_the_system_are_known_by_their_kind() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(OSError(errno.ENOMEM, "Cannot allocate memory"))
    assert is_out_of_memory(NO_GPU_MEMORY)
    assert not is_out_of_memory(OSError(errno.ENOSPC, "No space left on device"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_more_than_there_is_is_recognised_as_torch_says_it() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(raised.value)


def test_attempt_that_failed_is_forgotten_before_the_next_one_begins() -> None:
    """What its frames hold is the memory that the next one needs."""
    left: list[weakref.ref[Tensor]] = []

    def attempt() -> str:
        if left:
            assert left[0]() is None
            return "done"
        tensor = torch.zeros(3)
        left.append(weakref.ref(tensor))
        raise NO_MEMORY

    gc.disable()  # nobody but the code under test may collect
    try:
        assert in_smaller_parts(attempt, lambda: True) == "done"
    finally:
        gc.enable()


def test_error_of_another_kind_is_not_tried_again() -> None:
    def attempt() -> None:
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        in_smaller_parts(attempt, lambda: pytest.fail("it was made smaller"))


# In a step

RANDOM = {"dropout": 0.2, "flip": True, "crop": 1, "batch_norm": True, "ema": 0.9}


def fail_in_batch(loop: Loop, error: Exception) -> None:
    batches = loop.job.batches
    batches.batch = Faulty(batches.batch, [7], error)  # type: ignore[method-assign]


def fail_in_forward(loop: Loop, error: Exception) -> None:
    stepper = loop.stepper
    stepper.loss = Faulty(stepper.loss, [7], error)  # type: ignore[method-assign]


def fail_in_backward(loop: Loop, error: Exception) -> None:
    """The gradients of the last layers are there by then."""
    first = next(loop.job.module.parameters())
    first.register_hook(Faulty(lambda gradient: gradient, [7], error))


ERRORS = {"cpu": NO_MEMORY, "cuda": NO_GPU_MEMORY, "python": MemoryError()}
PLACES = [fail_in_batch, fail_in_forward, fail_in_backward]


def run_in_micro_batches_from(step: int, count: int, folder: Path, **fields: Any) -> Loop:
    loop = Loop(make_job(folder, **fields), [], StopRequest())
    take = loop.stepper.take

    def split(progress: Any, *args: Any) -> Any:
        if progress.step == step - 1:
            progress.micro_batches = count
        return take(progress, *args)

    loop.stepper.take = split  # type: ignore[method-assign]
    loop.run()
    return loop


def assert_same(one: Loop, other: Loop) -> None:
    ours, theirs = state_of(one), state_of(other)
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.parametrize("fields", [{}, RANDOM], ids=["plain", "random"])
@pytest.mark.parametrize(
    "error", [NO_MEMORY, NO_GPU_MEMORY, MemoryError()], ids=["cpu", "cuda", "python"]
)
@pytest.mark.parametrize("place", PLACES)
def test_run_ends_like_one_in_two_micro_batches_from_that_step_on(
    place: Callable[[Loop, Exception], None],
    error: Exception,
    fields: dict[str, Any],
    tmp_path: Path,
) -> None:
    """To the bit: the step that failed has left nothing behind, no random number either."""
    witness = Witness()
    loop = Loop(make_job(tmp_path, **fields), [witness], StopRequest())
    place(loop, error)
    loop.run()
    assert_same(loop, run_in_micro_batches_from(7, 2, tmp_path, **fields))
    assert loop.progress.micro_batches == 2
    (event,) = witness.events
    assert (event.kind, event.step) == ("out of memory", 6)
    assert "2 micro-batches" in event.message


def test_micro_batches_that_were_asked_for_become_twice_as_many(tmp_path: Path) -> None:
    """Memory runs out in the second one of the seventh step."""
    loop = Loop(make_job(tmp_path, accumulate=2), [], StopRequest())
    loop.stepper.loss = Faulty(loop.stepper.loss, [14], NO_MEMORY)  # type: ignore[method-assign]
    loop.run()
    expected = run_in_micro_batches_from(7, 4, tmp_path, accumulate=2)
    assert_same(loop, expected)


def sizes_under_a_limit(limit: int, folder: Path, **fields: Any) -> list[int]:
    """Train where no more than so many samples at once fit into memory; return how many did."""
    loop = Loop(make_job(folder, epochs=2, **fields), [], StopRequest())
    loss, sizes = loop.stepper.loss, []

    def limited(images: Tensor, labels: Tensor) -> Tensor:
        if len(images) > limit:
            raise NO_MEMORY
        sizes.append(len(images))
        return loss(images, labels)

    loop.stepper.loss = limited  # type: ignore[method-assign]
    loop.run()
    return sizes


@pytest.mark.parametrize("limit", [33, 8, 3, 1])
def test_batch_is_halved_until_it_fits(limit: int, tmp_path: Path) -> None:
    sizes = sizes_under_a_limit(limit, tmp_path)
    assert sum(sizes) >= 600  # what failed halfway was computed twice
    assert limit / 2 <= max(sizes) <= limit


def test_batch_norm_is_never_given_a_single_sample(tmp_path: Path) -> None:
    assert set(sizes_under_a_limit(3, tmp_path, batch_norm=True)) == {2}
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        sizes_under_a_limit(1, tmp_path, batch_norm=True)


def test_batch_norm_gets_single_samples_where_they_were_asked_for(tmp_path: Path) -> None:
    fields = {"batch_size": 4, "accumulate": 4, "train_samples": 8}
    job = make_job(tmp_path, batch_norm=True, epochs=1, **fields)
    sizes: list[int] = []
    next(job.module.children()).register_forward_pre_hook(lambda _, x: sizes.append(len(x[0])))
    loop = Loop(job, [], StopRequest())
    take = loop.stepper.loss
    loop.stepper.loss = Faulty(take, Calls(1), NO_MEMORY, before=True)  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        loop.run()
    assert loop.stepper.loss.calls == 1  # two of two samples each would need more


def test_what_does_not_fit_in_the_smallest_parts_ends_the_run(tmp_path: Path) -> None:
    witness = Witness()
    loop = Loop(make_job(tmp_path), [witness], StopRequest())
    loop.stepper.loss = Faulty(loop.stepper.loss, Calls(1), NO_MEMORY)  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        loop.run()
    assert loop.stepper.loss.calls == 7  # 1, 2, 4, ... 64 micro-batches
    assert len(witness.events) == 6


def test_choice_survives_a_resume(tmp_path: Path) -> None:
    stop = StopAt(9)
    stop.loop = loop = Loop(make_job(tmp_path), [], stop)
    fail_in_forward(loop, NO_MEMORY)
    with pytest.raises(StoppedError):
        loop.run()
    checkpoint = load_latest(tmp_path / "checkpoints", pytest.fail)
    assert checkpoint is not None
    witness = Witness()
    resumed = Loop(make_job(tmp_path), [witness], StopRequest())
    resumed.restore(checkpoint)
    resumed.run()
    assert resumed.progress.micro_batches == 2
    assert not witness.events
    assert_same(resumed, run_in_micro_batches_from(7, 2, tmp_path))


# In a validation


def test_validation_is_judged_in_smaller_batches_with_the_same_result(tmp_path: Path) -> None:
    usual, witness = Witness(), Witness()
    train(make_job(tmp_path, epochs=2), usual)
    job = make_job(tmp_path, epochs=2)
    sizes: list[int] = []

    def judge(module: torch.nn.Module, size: int) -> Any:
        sizes.append(size)
        if size > 30:
            raise NO_GPU_MEMORY
        return job.validate(module, size)

    loop, _ = train(make_job(tmp_path, judge, epochs=2), witness)
    assert sizes == [100, 50, 25, 25]
    assert loop.progress.validation_batch == 25
    assert [event.kind for event in witness.events] == ["out of memory"] * 2
    for mine, theirs in zip(witness.epochs, usual.epochs, strict=True):
        assert mine.validation_accuracy == theirs.validation_accuracy
        assert mine.validation_loss == pytest.approx(theirs.validation_loss, rel=1e-5)


def test_validation_that_does_not_fit_one_by_one_ends_the_run(tmp_path: Path) -> None:
    judge = Faulty(lambda *_: None, Calls(1), NO_MEMORY)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        train(make_job(tmp_path, judge, epochs=1))
    assert judge.calls == 7  # 100, 50, 25, 12, 6, 3, 1 at once


def test_average_is_taken_out_again_when_memory_runs_out_while_it_is_judged(tmp_path: Path) -> None:
    fields = {"ema": 0.9, "epochs": 3}
    whole, _ = train(make_job(tmp_path, **fields))
    job = make_job(tmp_path, **fields)
    loop, _ = train(make_job(tmp_path, Faulty(job.validate, [2], NO_MEMORY), **fields))
    assert_same(loop, whole)


# In the optimizer


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "muon"])
def test_update_in_parts_ends_bit_for_bit_like_the_whole_one(name: str, tmp_path: Path) -> None:
    fields = {"optimizer": name, "weight_decay": 0.01 if name != "adam" else 0.0, "ema": 0.9}
    whole, _ = train(make_job(tmp_path, **fields))
    witness = Witness()
    loop = Loop(make_job(tmp_path, **fields), [witness], StopRequest())
    optimizer = loop.stepper.optimizer
    scratch = Faulty(optimizer._scratch, [5, 6, 9], NO_MEMORY)
    optimizer._scratch = scratch  # type: ignore[method-assign]
    loop.run()
    assert loop.progress.update_parts == 8
    assert [event.kind for event in witness.events] == ["out of memory"] * 3
    assert "8 parts" in witness.events[-1].message
    assert_same(loop, whole)


def test_update_is_taken_in_no_more_parts_than_help(tmp_path: Path) -> None:
    loop = Loop(make_job(tmp_path), [], StopRequest())
    before = loop.stepper.parameters.values.clone()
    optimizer = loop.stepper.optimizer
    optimizer._scratch = Faulty(optimizer._scratch, Calls(1), NO_MEMORY)  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        loop.run()
    assert loop.progress.update_parts == MOST_PARTS
    assert torch.equal(loop.stepper.parameters.values, before)


def test_parts_of_the_update_survive_a_resume(tmp_path: Path) -> None:
    stop = StopAt(3)
    stop.loop = loop = Loop(make_job(tmp_path), [], stop)
    optimizer = loop.stepper.optimizer
    optimizer._scratch = Faulty(optimizer._scratch, [2], NO_MEMORY)  # type: ignore[method-assign]
    with pytest.raises(StoppedError):
        loop.run()
    checkpoint = load_latest(tmp_path / "checkpoints", pytest.fail)
    assert checkpoint is not None
    resumed = Loop(make_job(tmp_path), [], StopRequest())
    resumed.restore(checkpoint)
    resumed.run()
    assert resumed.progress.update_parts == resumed.stepper.optimizer.parts == 2

import errno
import json
import os
import pickle
import random
import re
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

import traintime
from traintime.errors import RunFolderError, StorageError
from traintime.train import checkpoints
from traintime.train.checkpoints import Checkpoint, load_checkpoint, load_latest, save_checkpoint

TENSORS = {
    "parameters": torch.arange(12.0).view(3, 4),
    "buffer.count": torch.tensor(7),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "random.cpu": torch.arange(5, dtype=torch.uint8),
}
STATE = {"step": 7, "loss_sum": 0.1 + 0.2, "best": None, "seconds": {"train": 1e-9}}


def save(folder: Path, step: int) -> Path:
    return save_checkpoint(folder, step, Checkpoint(TENSORS, {**STATE, "step": step}))


def load(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    said: list[str] = []
    return load_latest(folder, said.append), said


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    loaded = load_checkpoint(save(tmp_path, 7))
    assert loaded.state == STATE
    assert loaded.tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert loaded.tensors[name].dtype == tensor.dtype
        assert torch.equal(loaded.tensors[name], tensor)


def test_without_any_checkpoint_there_is_none_to_go_on_from(tmp_path: Path) -> None:
    assert load(tmp_path) == (None, [])
    assert load(tmp_path / "not there") == (None, [])


def test_last_two_are_kept(tmp_path: Path) -> None:
    for step in (1, 5, 10, 200):
        save(tmp_path, step)
    assert names_in(tmp_path) == [
        "step-000000010.safetensors",
        "step-000000200.safetensors",
    ]
    checkpoint, _ = load(tmp_path)
    assert checkpoint is not None
    assert checkpoint.state["step"] == 200


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 0x10
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def rewrite_with_another_format(path: Path) -> None:
    save_file(TENSORS, path, {"format": "2", "state": json.dumps(STATE), "sha256": "0"})


def rewrite_without_header(path: Path) -> None:
    save_file(TENSORS, path)


def change_the_state(path: Path) -> None:
    content = path.read_bytes()
    assert b'\\"step\\": 9' in content
    path.write_bytes(content.replace(b'\\"step\\": 9', b'\\"step\\": 8'))


DAMAGES = [
    truncate,
    flip_a_byte,
    empty,
    rewrite_with_another_format,
    rewrite_without_header,
    change_the_state,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damaged_checkpoint_leaves_the_one_before(damage, tmp_path: Path) -> None:
    save(tmp_path, 5)
    damage(save(tmp_path, 9))
    checkpoint, said = load(tmp_path)
    assert checkpoint is not None
    assert checkpoint.state["step"] == 5
    assert len(said) == 1
    assert said[0].startswith("Checkpoint step-000000009.safetensors is damaged (")
    assert "\n" not in said[0]


def test_wrong_format_is_named(tmp_path: Path) -> None:
    rewrite_with_another_format(save(tmp_path, 9))
    with pytest.raises(ValueError, match="format 2, expected 1"):
        load_checkpoint(tmp_path / "step-000000009.safetensors")


def test_no_changed_byte_goes_unnoticed(tmp_path: Path) -> None:
    path = save(tmp_path, 9)
    whole = path.read_bytes()
    chance = random.Random(0)
    for place in {*range(200), *(chance.randrange(len(whole)) for _ in range(300))}:
        changed = bytearray(whole)
        changed[place] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        try:
            loaded = load_checkpoint(path)
        except ValueError:
            continue
        # JSON allows some changes that mean nothing, such as a space for a tab.
        assert loaded.state == {**STATE, "step": 9}
        assert all(torch.equal(loaded.tensors[name], TENSORS[name]) for name in TENSORS)


def test_no_truncation_goes_unnoticed(tmp_path: Path) -> None:
    path = save(tmp_path, 9)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"\S"):
            load_checkpoint(path)


def test_nothing_but_damaged_ones_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    flip_a_byte(save(tmp_path, 5))
    truncate(save(tmp_path, 9))
    with pytest.raises(RunFolderError, match=re.escape(f"rm '{tmp_path}'/*.safetensors")):
        load(tmp_path)


def test_after_a_damaged_one_two_good_ones_are_kept_again(tmp_path: Path) -> None:
    save(tmp_path, 5)
    flip_a_byte(save(tmp_path, 90))
    load(tmp_path)  # goes on from step 5
    save(tmp_path, 7)
    assert names_in(tmp_path) == [
        "step-000000005.safetensors",
        "step-000000007.safetensors",
    ]


@pytest.mark.parametrize(
    "refusal",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        ),
    ],
    ids=["system", "safetensors"],
)
def test_full_disk_while_writing_leaves_the_earlier_ones(
    refusal: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 5)
    save(tmp_path, 9)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def write_half(tensors: object, path: Path, header: object) -> None:
        path.write_bytes(b"half")
        raise refusal

    monkeypatch.setattr(checkpoints, "save_file", write_half)
    with pytest.raises(StorageError, match="disk is full"):
        save(tmp_path, 12)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_full_disk_while_syncing_leaves_the_earlier_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 5)

    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match="disk is full"):
        save(tmp_path, 9)
    assert names_in(tmp_path) == ["step-000000005.safetensors"]


def test_what_a_kill_left_half_written_is_cleared_away(tmp_path: Path) -> None:
    save(tmp_path, 5)
    (tmp_path / ".step-000000009.safetensors.123.tmp").write_bytes(b"half")
    load(tmp_path)
    assert names_in(tmp_path) == ["step-000000005.safetensors"]


class Bomb:
    went_off = False

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return setattr, (Bomb, "went_off", True)


def test_pickle_is_refused_and_not_executed(tmp_path: Path) -> None:
    save(tmp_path, 5)
    (tmp_path / "step-000000009.safetensors").write_bytes(pickle.dumps(Bomb()))
    torch.save({"bomb": Bomb()}, tmp_path / "step-000000010.safetensors")
    checkpoint, said = load(tmp_path)
    assert checkpoint is not None
    assert checkpoint.state["step"] == 5
    assert len(said) == 2
    assert not Bomb.went_off


def test_no_source_file_can_unpickle() -> None:
    """YAML and numpy can carry pickles too."""
    forbidden = re.compile(
        r"torch\.load\b|\bimport pickle|\bfrom pickle|\bpickle\.load|\bdill\b|\bjoblib\b"
        r"|allow_pickle=True|yaml\.(?:load|unsafe_load|full_load)\b|\bmarshal\b|\bshelve\b"
    )
    root = Path(traintime.__file__).parent
    found = [
        f"{path.relative_to(root)}: {line.strip()}"
        for path in root.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if forbidden.search(line)
    ]
    assert found == []

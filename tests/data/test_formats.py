import gzip
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from traintime.data.catalogue import find
from traintime.data.formats import read
from traintime.errors import MissingExtraError

GREY = replace(find("mnist"), shape=(1, 3, 4), train_samples=10, test_samples=5)
COLOUR = replace(find("cifar10"), shape=(3, 4, 5), train_samples=10, test_samples=2)
IDX = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


def parts_of(facts):
    random = np.random.default_rng(1)
    return {
        part: random.integers(0, 10 if part.endswith("labels") else 256, shape, np.uint8)
        for part, shape in facts.part_shapes.items()
    }


def assert_same(parts, expected):
    assert set(parts) == set(expected)
    for part in expected:
        assert np.array_equal(parts[part], expected[part]), part


def idx_bytes(array):
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_are_read_packed_or_not_and_in_any_folder(tmp_path, packed):
    expected = parts_of(GREY)
    inner = tmp_path / "package" / "data"
    inner.mkdir(parents=True)
    for part, array in expected.items():
        content = idx_bytes(array.squeeze(-1) if array.ndim == 4 else array)
        name = IDX[part] + ".gz" * packed
        (inner / name).write_bytes(gzip.compress(content) if packed else content)
    assert_same(read("idx", tmp_path, GREY), expected)


def test_csv_has_the_label_first(tmp_path):
    expected = parts_of(GREY)
    for part in ("train", "test"):
        images = expected[f"{part}_images"]
        table = np.column_stack([expected[f"{part}_labels"], images.reshape(len(images), -1)])
        header = ",".join(["label", *(str(i) for i in range(12))])
        path = tmp_path / f"mnist_{part}.csv"
        np.savetxt(path, table, "%d", ",", header=header, comments="")
    assert_same(read("csv", tmp_path, GREY), expected)


def test_cifar_records_are_a_label_and_planes_of_colour(tmp_path):
    expected = parts_of(COLOUR)
    for part, names in (
        ("train", [f"data_batch_{i}.bin" for i in range(1, 6)]),
        ("test", ["test_batch.bin"]),
    ):
        images = expected[f"{part}_images"].transpose(0, 3, 1, 2).reshape(-1, 60)
        records = np.column_stack([expected[f"{part}_labels"], images])
        for name, share in zip(names, np.split(records, len(names)), strict=True):
            (tmp_path / name).write_bytes(share.tobytes())
    assert_same(read("cifar-bin", tmp_path, COLOUR), expected)


def write_pictures(folder):
    expected = parts_of(COLOUR)
    shares = np.split(expected["train_images"], 5)
    for i, share in enumerate(shares, start=1):
        Image.fromarray(share.reshape(len(share), -1, 3)).save(folder / f"data_batch_{i}.png")
    test = expected["test_images"]
    Image.fromarray(test.reshape(len(test), -1, 3)).save(folder / "test_batch.png")
    for part in ("train", "test"):
        labels = json.dumps(expected[f"{part}_labels"].tolist())
        (folder / f"{part}_lables.json").write_text(labels)
    return expected


def test_pictures_hold_one_image_per_row(tmp_path):
    expected = write_pictures(tmp_path)
    assert_same(read("cifar-png", tmp_path, COLOUR), expected)


def test_without_pillow_the_extra_to_install_is_named(tmp_path, monkeypatch):
    write_pictures(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"traintime\[train\]"):
        read("cifar-png", tmp_path, COLOUR)

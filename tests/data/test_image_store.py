from pathlib import Path

import numpy as np
import pytest
import torch

from traintime.data.image_cache import read_facts
from traintime.data.prepare import pixel_statistics

from .stores import store_of


@pytest.mark.parametrize("array", [True, False])
def test_mean_and_deviation_are_those_of_the_pixels_to_the_last_bit(tmp_path: Path, array: bool):
    store, images = store_of(tmp_path / "photos", array=array)
    rows = np.array([1, 4, 5, 21, 38])
    expected = pixel_statistics(torch.from_numpy(images[rows]))
    found = [torch.tensor(values, dtype=torch.float32) for values in store.statistics(rows)]
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def test_one_image_can_be_had_alone(tmp_path: Path):
    store, images = store_of(tmp_path / "photos")
    assert np.array_equal(store.image(7), images[7])


def test_a_damaged_table_is_as_good_as_none(tmp_path: Path):
    store_of(tmp_path / "photos")
    (path,) = tmp_path.glob("cache/data/own/*/table.bin")
    key = path.parent.name
    assert read_facts(key)
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)
    assert read_facts(key) is None

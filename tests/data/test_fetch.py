import errno
import json

import numpy as np
import pytest

from traintime.data import cache, fetch
from traintime.data.sources import SourceError
from traintime.errors import DataUnavailableError, StorageError


def folder_of(tiny, home):
    return home / "cache" / "data" / tiny.facts.name


def test_sources_are_tried_in_order_and_each_is_told_in_one_line(tiny):
    raw = tiny.load()
    assert raw.source == "second place"
    assert raw.images.shape == (60, 4, 5, 1)
    assert tiny.said == [
        "Getting Tiny: trying the first place",
        "Getting Tiny: first place not reachable; trying the second place",
        "Got Tiny: 72 images from the second place, content verified",
    ]


def test_what_was_fetched_is_kept_and_read_back_the_same(tiny):
    assert not fetch.check_cached("tiny")
    first = tiny.load()
    assert fetch.check_cached("tiny")
    tiny.asked.clear()
    second = tiny.load()
    assert not tiny.asked
    assert second.source == "second place"
    assert np.array_equal(first.images, second.images)
    assert np.array_equal(first.test_labels, second.test_labels)
    assert second.images.flags.writeable
    assert second.images.flags.c_contiguous


def test_the_folder_says_where_the_content_came_from(tiny, home):
    tiny.load()
    note = json.loads((folder_of(tiny, home) / "content.json").read_text())
    assert note["source"] == "second place"
    assert note["sha256_of_content"] == tiny.facts.sha256
    assert set(note["sha256_of_file"]) == set(tiny.facts.sha256)


@pytest.mark.parametrize("part", ["train_images", "train_labels", "test_images", "test_labels"])
def test_one_flipped_bit_is_found_told_and_mended(tiny, home, part):
    good = tiny.load()
    path = folder_of(tiny, home) / f"{part}.npy"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    tiny.said.clear()
    again = tiny.load()
    assert tiny.said[0] == (
        f"The stored copy of Tiny is damaged ({part}.npy has another checksum); getting it again"
    )
    assert np.array_equal(again.images, good.images)
    tiny.said.clear()
    tiny.load()
    assert not tiny.said


@pytest.mark.parametrize("keep", [0, 1, 100, 700])
def test_a_file_cut_short_is_found_and_mended(tiny, home, keep):
    tiny.load()
    path = folder_of(tiny, home) / "train_images.npy"
    path.write_bytes(path.read_bytes()[:keep])
    assert not fetch.check_cached("tiny")
    assert tiny.load().images.shape == (60, 4, 5, 1)
    assert any("train_images.npy has the wrong size" in line for line in tiny.said)


def test_a_damaged_copy_that_cannot_be_had_again_is_never_used(tiny, home):
    tiny.load()
    path = folder_of(tiny, home) / "test_labels.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\7")
    tiny.places["second place"] = SourceError("npm failed")
    with pytest.raises(DataUnavailableError, match=r"data=digits, which needs none$"):
        tiny.load()
    assert not path.exists()


def test_a_missing_file_is_fetched_without_talk_of_damage(tiny, home):
    tiny.load()
    (folder_of(tiny, home) / "train_labels.npy").unlink()
    tiny.said.clear()
    tiny.load()
    assert not any("damaged" in line for line in tiny.said)


@pytest.mark.parametrize("note", ["", "{", "[]", "{}"])
def test_a_broken_note_does_not_matter(tiny, home, note):
    tiny.load()
    (folder_of(tiny, home) / "content.json").write_text(note)
    assert tiny.load().source == "not recorded"


def test_when_no_source_is_reachable_each_is_named_with_its_reason(tiny):
    tiny.places["second place"] = SourceError("there is no npm on this machine")
    with pytest.raises(DataUnavailableError) as refused:
        tiny.load()
    assert str(refused.value).splitlines() == [
        "Tiny is not on this machine and none of its sources gave it:",
        "  first place: not reachable",
        "  second place: there is no npm on this machine",
        "Try again with a network, or type data=digits, which needs none",
    ]


def test_other_content_than_the_true_one_is_refused_and_not_kept(tiny, home):
    other = dict(tiny.places["second place"])
    other["test_images"] = other["test_images"] ^ 1
    tiny.places["second place"] = other
    with pytest.raises(DataUnavailableError, match=r"not the true one \(test_images differ\)"):
        tiny.load()
    assert not folder_of(tiny, home).exists()


def test_true_content_in_another_layout_of_memory_is_accepted(tiny):
    parts = tiny.places["second place"]
    parts["train_images"] = np.asfortranarray(parts["train_images"])
    parts["train_images"].flags.writeable = False
    raw = tiny.load()
    assert raw.images.flags.c_contiguous
    assert raw.images.flags.writeable


def test_a_full_disk_is_told_as_such_and_leaves_nothing_half_written(tiny, home, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(cache.np, "save", refuse)
        with pytest.raises(StorageError, match="disk is full"):
            tiny.load()
    assert not list(folder_of(tiny, home).iterdir())
    assert tiny.load().source == "second place"


def test_a_disk_that_fills_up_while_downloading_is_told_as_such(tiny):
    tiny.places["first place"] = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(StorageError, match="disk is full"):
        tiny.load()


def test_digits_are_always_there():
    raw = fetch.load_raw("digits", pytest.fail)
    assert fetch.check_cached("digits")
    assert raw.images.shape == (1797, 8, 8, 1)
    assert (raw.images.min(), raw.images.max()) == (0, 255)
    assert np.bincount(raw.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert raw.test_images is None
    assert raw.test_labels is None


def test_damaged_digits_say_how_to_install_them_again(tmp_path, monkeypatch):
    (tmp_path / "digits.npz").write_bytes(b"PK\3\4 nothing")
    monkeypatch.setattr(fetch, "files", lambda package: tmp_path)
    with pytest.raises(DataUnavailableError, match="pip install --force-reinstall"):
        fetch.load_raw("digits", pytest.fail)

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from traintime.data import image_cache, own_images, read_image
from traintime.data.catalogue import find, split_sizes
from traintime.data.damage_bound import most_damaged
from traintime.data.image_store import ImageStore
from traintime.data.input_plan import InputPlan
from traintime.data.own_images import OwnImages, load_own, used_images
from traintime.data.prepare import PreparedParts, prepare
from traintime.data.read_image import ReadImages
from traintime.errors import InputError, StorageError
from traintime.recipe import Recipe, read_recipe

from .pictures import cut_short, photos

Load = Callable[..., OwnImages]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return photos(tmp_path / "photos", 30)


def asked(root: Path, **fields: object) -> Recipe:
    return read_recipe(
        **{"data": str(root), "model": "mlp", "image_size": 8, "batch_size": 8, **fields}
    )


def load(
    recipe: Recipe, said: list[str] | None = None, left_out: dict[str, str] | None = None
) -> OwnImages:
    used = used_images(recipe, find(recipe.data, recipe.image_size or 0))
    return load_own(recipe, used, (said if said is not None else []).append, left_out)


def prepared(recipe: Recipe, own: OwnImages) -> PreparedParts:
    return prepare(own.raw, recipe, find(recipe.data, recipe.image_size or 0))


def rot(path: Path) -> None:
    """Damage a file as a bad disk does: its size and its time of change stay."""
    status = path.stat()
    path.write_bytes(bytes(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def forget_copies(tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "cache")


def never(*_: object) -> None:
    raise AssertionError("the images were read again")


def test_the_parts_have_the_sizes_and_the_classes_that_were_forecast(root: Path):
    recipe = asked(root)
    parts = prepared(recipe, load(recipe))
    sizes = split_sizes(find(str(root)), recipe)
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (
        sizes.train,
        sizes.validation,
        sizes.test,
    )
    assert parts.train.images.shape == (42, 8, 8, 3)
    assert parts.train.labels.bincount().tolist() == [21, 21]
    is_dog = parts.test.images[..., 0].float().mean(dim=(1, 2)) > 100  # dogs are red
    assert torch.equal(is_dog.long(), parts.test.labels)


def test_no_image_is_in_two_parts(root: Path):
    recipe = asked(root)
    parts = prepared(recipe, load(recipe))
    images = [part.images for part in (parts.train, parts.validation, parts.test)]
    every = torch.cat(images).reshape(60, -1)
    assert len(every.unique(dim=0)) == 60


def test_the_second_time_nothing_is_read(root: Path, monkeypatch: pytest.MonkeyPatch):
    first = load(asked(root))
    monkeypatch.setattr(read_image, "read_image", never)
    again = load(asked(root, seed=1))
    assert np.array_equal(again.raw.images, first.raw.images)


def test_another_size_or_a_changed_file_is_read_anew(root: Path):
    load(asked(root))
    assert load(asked(root, image_size=4)).raw.images.shape == (60, 4, 4, 3)
    os.utime(root / "cats/000.png", (1, 1))
    recipe = asked(root)
    assert not used_images(recipe, find(recipe.data, 8)).is_kept


def test_fewer_training_samples_are_fewer_images_read(root: Path):
    recipe = asked(root, train_samples=20)
    own = load(recipe)
    assert own.used == 20 + 9 + 9
    assert len(prepared(recipe, own).train) == 20


@pytest.mark.parametrize("harm", ["cut", "flip", "note"])
def test_a_damaged_copy_is_never_used(root: Path, tmp_path: Path, harm: str):
    good = load(asked(root)).raw.images.copy()
    (copy,) = tmp_path.glob("cache/data/own/*")
    if harm == "cut":
        cut_short(copy / "images.bin")
    elif harm == "note":
        cut_short(copy / "content.json")
    else:
        content = bytearray((copy / "images.bin").read_bytes())
        content[100] ^= 1
        (copy / "images.bin").write_bytes(content)
    said: list[str] = []
    assert np.array_equal(load(asked(root), said).raw.images, good)
    assert bool(said) == (harm == "flip")
    assert not said or "The copy of the images in 'photos' is damaged; reading" in said[0]


def test_a_disk_that_refuses_the_copy_ends_nothing(root: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise StorageError("The disk is full")

    monkeypatch.setattr(own_images, "keep_copy", refuse)
    said: list[str] = []
    assert load(asked(root), said).used == 60
    assert "the next run reads them again: The disk is full" in said[0]


def test_of_the_copies_of_a_folder_the_last_few_are_kept(root: Path, tmp_path: Path):
    for side in range(1, image_cache.KEPT + 3):
        load(asked(root, image_size=side))
    assert len(list(tmp_path.glob("cache/data/own/*"))) == image_cache.KEPT
    recipe = asked(root, image_size=1)
    assert not used_images(recipe, find(recipe.data, 1)).is_kept


def test_what_killed_processes_left_is_cleared_away(root: Path, tmp_path: Path):
    own = tmp_path / "cache" / "data" / "own"
    for name in ("old", "new"):
        (own / name).mkdir(parents=True)
        (own / name / ".images.bin.999999.tmp").touch()
    os.utime(own / "old", (1, 1))
    load(asked(root))
    assert not (own / "old").exists()
    assert (own / "new").exists(), "it may be being written"


def test_damaged_images_are_left_out_and_no_other_sample_moves(root: Path):
    recipe = asked(root)
    whole = prepared(recipe, load(recipe))
    cut_short(root / "cats/004.png", 0.3)
    (root / "dogs/017.png").write_text("Not Found")
    own = load(recipe)
    assert own.left_out == {
        "cats/004.png": "image file is truncated",
        "dogs/017.png": "is no image of a known format",
    }
    without = prepared(recipe, own)
    for before, after in (
        (whole.train, without.train),
        (whole.validation, without.validation),
        (whole.test, without.test),
    ):
        rows = {image.numpy().tobytes() for image in after.images}
        stayed = [image for image in before.images if image.numpy().tobytes() in rows]
        assert torch.equal(torch.stack(stayed), after.images)
    assert sum(map(len, (without.train, without.validation, without.test))) == 58


def test_an_image_that_is_damaged_since_is_replaced_by_one_of_its_class_and_part(
    root: Path, tmp_path: Path
):
    recipe = asked(root)
    first = load(recipe)
    before = prepared(recipe, first)
    forget_copies(tmp_path)
    assert first.raw.parts
    lost = int(first.raw.parts.train[5])
    name = used_images(recipe, find(recipe.data, 8)).names[lost]
    rot(root / name)
    second = load(recipe, left_out={})
    after = prepared(recipe, second)
    assert list(second.replaced) == [name]
    same = (before.train.images == after.train.images).flatten(1).all(dim=1)
    assert same.tolist() == [row != 5 for row in range(42)]
    assert torch.equal(before.train.labels, after.train.labels)
    stands_in = after.train.images[5]
    assert any(torch.equal(stands_in, image) for image in before.train.images)
    assert torch.equal(before.test.images, after.test.images)


def test_an_image_that_was_left_out_stays_out_although_it_is_well_again(root: Path):
    path = root / "cats/004.png"
    good, status = path.read_bytes(), path.stat()
    rot(path)
    first = load(asked(root))
    path.write_bytes(good)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    second = load(asked(root), left_out=dict(first.left_out))
    assert second.left_out == first.left_out
    assert len(prepared(asked(root), second).train) == len(prepared(asked(root), first).train)
    assert load(asked(root)).left_out == {}, "a new run has it"


def load_stored(recipe: Recipe, cache: str = "disk", said: list[str] | None = None) -> OwnImages:
    used = used_images(recipe, find(recipe.data, recipe.image_size or 0))
    plan = InputPlan(cache)  # pyright: ignore[reportArgumentType]
    return load_own(recipe, used, (said if said is not None else []).append, None, plan)


def store_of(own: OwnImages) -> ImageStore:
    assert isinstance(own.raw.images, ImageStore)
    return own.raw.images


@pytest.mark.parametrize("cache", ["disk", "none"])
def test_images_that_stay_on_the_disk_have_the_same_parts(root: Path, cache: str):
    cut_short(root / "cats/004.png", 0.3)
    recipe = asked(root)
    resident, stored = load(recipe), load_stored(recipe, cache)
    assert stored.left_out == resident.left_out
    ours, theirs = prepared(recipe, stored), prepared(recipe, resident)
    for part in ("train", "validation", "test"):
        on_disk, in_memory = getattr(ours, part), getattr(theirs, part)
        assert torch.equal(on_disk.labels, in_memory.labels)
        assert np.array_equal(on_disk.image(3), in_memory.image(3))
    assert torch.equal(ours.mean, theirs.mean)
    assert torch.equal(ours.std, theirs.std)


@pytest.mark.parametrize("cache", ["disk", "none"])
def test_they_are_read_in_parts_that_a_little_memory_holds(
    root: Path, cache: str, monkeypatch: pytest.MonkeyPatch
):
    whole = load(asked(root)).raw.images
    sizes: list[int] = []

    def noted(paths: Sequence[Path], *rest: object) -> ReadImages:
        sizes.append(len(paths))
        return read_image.read_images(paths, 8)

    monkeypatch.setattr(own_images, "PART_BYTES", 25 * 3 * 8 * 8)
    monkeypatch.setattr(own_images, "read_images", noted)
    os.utime(root / "cats/000.png", (1, 1))
    store = store_of(load_stored(asked(root), cache))
    assert sizes == [25, 25, 10, 0]
    assert np.array_equal([store.image(row) for row in range(60)], whole)


def test_without_room_for_the_copy_they_are_decoded_anew_or_that_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
):
    usage = shutil.disk_usage(root)._replace(free=60 * 3 * 8 * 8 - 1024)
    monkeypatch.setattr(image_cache.shutil, "disk_usage", lambda _: usage)
    said: list[str] = []
    store = store_of(load_stored(asked(root), "disk", said))
    assert store.known.array is None
    assert "takes 11.2 KiB, and 1 KiB of that are missing" in said[0]
    assert "are decoded again for each batch instead" in said[0]
    with pytest.raises(StorageError, match="1 KiB of that are missing"):
        load_stored(asked(root, cache="disk"))


def test_an_image_that_is_well_again_is_used(root: Path):
    path = root / "cats/004.png"
    good, status = path.read_bytes(), path.stat()
    rot(path)
    assert list(load_stored(asked(root)).left_out) == ["cats/004.png"]
    path.write_bytes(good)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    own = load_stored(asked(root))
    assert own.left_out == {}
    assert np.array_equal(store_of(own).image(4), read_image.read_image(path, 8))


def test_another_decoder_reads_them_anew_where_no_pixels_are_kept(
    root: Path, monkeypatch: pytest.MonkeyPatch
):
    load_stored(asked(root), "none")
    recipe = asked(root)
    used = used_images(recipe, find(recipe.data, 8))
    assert used.is_known
    monkeypatch.setattr(own_images, "DECODER", "Pillow 99")
    assert not used.is_known
    load_stored(recipe, "disk")
    assert used.is_known, "the pixels are kept, whoever decoded them"


def test_no_micro_batch_of_one_sample_is_left_to_a_batch_normalisation(root: Path):
    recipe = asked(root, batch_norm=True, batch_size=40)  # 42 samples: 40 and 2
    own = load(recipe)
    assert own.raw.parts
    for row in own.raw.parts.train[:1]:
        cut_short(root / used_images(recipe, find(recipe.data, 8)).names[row])
    parts = load(recipe).raw.parts
    assert parts
    assert len(parts.train) == 40


def test_a_class_of_which_nothing_is_left_is_refused(root: Path):
    for path in (root / "cats").iterdir():
        path.write_bytes(b"")
    with pytest.raises(InputError, match="nothing is left of 1 of the classes"):
        load(asked(root))


@pytest.mark.parametrize(
    ("share", "images", "most"),
    [(0.01, 1000, 10), (0.01, 19, 0), (0.01, 20, 1), (0.01, 199, 1), (0, 1000, 0), (0.5, 4, 2)],
)
def test_a_share_of_the_images_may_be_damaged(share: float, images: int, most: int):
    recipe = read_recipe(data="mnist", model="mlp", max_damaged=share)
    assert most_damaged(recipe, images) == most

import os
import time
from pathlib import Path

import pytest

from traintime.data import catalogue
from traintime.data.catalogue import SplitSizes, find, split_sizes
from traintime.data.image_folder import look_through
from traintime.data.image_layout import Layout, differences
from traintime.data.known_sizes import find_size
from traintime.data.reading_time import reading_time
from traintime.errors import InputError, UnknownNameError
from traintime.recipe import data_folder, read_recipe

from .pictures import photos


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def empty_files(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def of_class(name: str, count: int = 3, ending: str = "jpg") -> list[str]:
    return [f"{name}/{index}.{ending}" for index in range(count)]


def test_the_known_data_sets_are_those_of_the_catalogue():
    assert set(data_folder.KNOWN_DATA) == set(catalogue.DATA_SETS)


@pytest.mark.parametrize("typed", ["./photos", "photos", "../work/photos", "{}", "~/photos"])
def test_a_folder_is_found_however_its_path_is_typed(
    typed: str, here: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(here))
    empty_files(here / "photos", *of_class("cats", 4), *of_class("dogs", 3, "PNG"))
    facts = find(typed.format(here / "photos"), image_size=32)
    assert (facts.name, facts.title) == (str(here / "photos"), "photos")
    assert facts.classes == ("cats", "dogs")
    assert facts.shape == (3, 32, 32)
    assert (facts.train_samples, facts.validation_samples, facts.test_samples) == (7, None, None)
    assert find_size(typed.format(here / "photos")).train == 7


def test_a_known_data_set_wins_over_a_folder_of_its_name(here: Path):
    empty_files(here / "digits", *of_class("cats"), *of_class("dogs"))
    assert find("digits").folder is None
    assert find("./digits").folder == here / "digits"


def test_what_is_no_image_is_passed_over(here: Path):
    empty_files(
        here / "p",
        *of_class("cats"),
        *of_class("dogs"),
        *("cats/Thumbs.db", "cats/.hidden.jpg", "cats/notes.txt", ".cache/1.jpg", "index.html"),
        *("__MACOSX/1.jpg", "cats/old/1.jpg"),
    )
    layout = look_through(here / "p")
    assert layout.classes == ("cats", "dogs")
    assert layout.count("train") == 6
    assert layout.ignored == ("cats/old",)


def test_names_may_have_spaces_umlauts_and_bytes_that_are_no_letters(here: Path):
    empty_files(here / "Bilder 2026", *of_class("Bären & Löwen"), *of_class("猫"))
    Path(os.fsdecode(os.fsencode(here / "Bilder 2026" / "猫") + b"/\xff.jpg")).touch()
    facts = find("Bilder 2026")
    assert facts.classes == ("Bären & Löwen", "猫")
    assert facts.layout
    assert facts.layout.names[0] == "Bären & Löwen/0.jpg"
    assert len(facts.layout.fingerprint) == 64


def test_links_are_followed(here: Path):
    empty_files(here / "elsewhere", *of_class("cats"))
    empty_files(here / "photos", *of_class("dogs", 2))
    (here / "photos" / "cats").symlink_to(here / "elsewhere" / "cats")
    (here / "photos" / "dogs" / "9.jpg").symlink_to("0.jpg")
    (here / "link").symlink_to("photos")
    assert find("./link").train_samples == 6


def test_folders_of_parts_are_used_as_they_are(here: Path):
    for part in ("train", "val", "test"):
        empty_files(here / "p" / part, *of_class("cats", 8), *of_class("dogs", 8))
    facts = find("./p")
    counts = (facts.train_samples, facts.validation_samples, facts.test_samples)
    assert counts == (16, 16, 16)
    recipe = read_recipe(data="./p", model="mlp", batch_size=4)
    assert split_sizes(facts, recipe) == SplitSizes(16, 16, 16)
    watched = read_recipe(data="./p", model="mlp", batch_size=4, validate_on="test")
    assert split_sizes(facts, watched) == SplitSizes(32, 16, 16)


def test_without_a_test_folder_the_validation_folder_is_the_test_set(here: Path):
    for part in ("Training", "valid"):
        empty_files(here / "p" / part, *of_class("cats", 10), *of_class("dogs", 10))
    facts = find("./p")
    assert (facts.train_samples, facts.validation_samples, facts.test_samples) == (20, None, 20)
    recipe = read_recipe(data="./p", model="mlp", batch_size=4, validation=0.1)
    assert split_sizes(facts, recipe) == SplitSizes(18, 2, 20)


def test_photos_of_trains_are_a_class(here: Path):
    empty_files(here / "p", *of_class("train"), *of_class("car"), *of_class("test"))
    assert find("./p").classes == ("car", "test", "train")


def test_a_test_folder_without_classes_is_passed_over(here: Path):
    empty_files(here / "p" / "train", *of_class("cats"), *of_class("dogs"))
    empty_files(here / "p" / "test", "1.jpg", "2.jpg")
    layout = look_through(here / "p")
    assert list(layout.files) == ["train"]
    assert layout.ignored == ("test",)


@pytest.mark.parametrize(
    ("files", "typed", "said"),
    [
        (
            [],
            "./nothing",
            r"There is no folder '.*nothing'\. data= takes a folder.*or one of mnist",
        ),
        (of_class("photos/a"), "./fotos", r"Did you mean '.*photos'\?"),
        (["photos.zip"], "./photos.zip", r"is a file.*unpack it"),
        (["p/readme.txt"], "./p", r"no images in folders of classes.*cats/1\.jpg.*\.jpg, \.pbm"),
        (of_class("p/a", 4, "heic"), "./p", r"no images in folders of classes"),
        (of_class("p", 5), "./p", r"holds 5 images and no folders.*p/cats, p/dogs"),
        (of_class("p/a/b/c"), "./p", r"those in a/b lie too deep"),
        (of_class("p/cats"), "./p", r"one class alone, 'cats'"),
        (
            [*of_class("p/cats"), *of_class("p/dogs", 2), "p/empty/x.txt"],
            "./p",
            r"dogs \(2\), empty \(0\) of the classes in '.*p' have fewer than 3 images",
        ),
        (
            [*of_class("p/train/a"), *of_class("p/train/b"), *of_class("p/test/c")],
            "./p",
            r"'.*p/test' has the class c, which '.*p/train' has not",
        ),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(
    files: list[str], typed: str, said: str, here: Path
):
    empty_files(here, *files)
    with pytest.raises(InputError, match=said):
        find(typed)


def test_a_folder_that_may_not_be_opened_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch):
    empty_files(here / "p", *of_class("cats"), *of_class("dogs"))

    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"cannot be looked into \(Permission denied\)"):
        find("./p")


def test_a_wrong_name_is_told_that_a_folder_would_do():
    with pytest.raises(UnknownNameError, match=r"data=\./FOLDER with a folder of images"):
        find("mnits")


def test_a_folder_brings_its_own_defaults_and_its_absolute_path(here: Path):
    empty_files(here / "digits", *of_class("cats"), *of_class("dogs"))
    recipe = read_recipe(["data=./digits", "model=resnet9"])
    assert recipe.data == str(here / "digits")
    assert recipe.data_name == "digits"
    assert (recipe.image_size, recipe.batch_size, recipe.max_damaged) == (64, 64, 0.01)
    assert recipe.lr == pytest.approx(0.01)  # of muon: by the square root of the batch size
    assert read_recipe(["data=./a, b: c #1", "model=mlp"]).data_name == "a, b: c #1"


def test_a_data_set_has_its_own_image_size():
    with pytest.raises(InputError, match="image_size is for images of your own"):
        read_recipe(data="mnist", model="lenet", image_size=32)


def test_looking_through_a_hundred_thousand_files_would_take_seconds(here: Path):
    count = 1_000
    empty_files(here / "p", *of_class("a", count // 2), *of_class("b", count // 2))
    began = time.process_time()
    assert find("./p").train_samples == count
    assert (time.process_time() - began) / count * 100_000 < 3


def test_a_layout_survives_being_written_down(here: Path):
    layout = look_through(photos(here / "p", 4))
    again = Layout.from_json(layout.to_json())
    assert again == layout
    assert again.fingerprint == layout.fingerprint


def test_every_difference_between_two_times_is_named(here: Path):
    before = look_through(photos(here / "p", 5))
    (here / "p/cats/000.png").unlink()
    os.utime(here / "p/dogs/001.png", (1, 1))
    for index in range(4):
        (here / f"p/dogs/new {index}.png").touch()
    now = look_through(here / "p")
    assert differences(before, now) == (
        "1 removed (cats/000.png); 4 added (dogs/new 0.png, dogs/new 1.png, dogs/new 2.png and "
        "1 more); 1 changed (dogs/001.png)"
    )
    assert differences(before, before) == ""


def test_reading_is_timed_on_the_folders_own_images(here: Path):
    photos(here / "p", 40)
    recipe = read_recipe(data="./p", model="mlp", batch_size=8)
    reading = reading_time(recipe, find("./p"))
    assert reading
    assert 0 < reading.seconds < 5
    assert "reading 80 images the first time takes" in reading.said
    assert reading_time(read_recipe(data="mnist", model="mlp"), find("mnist")) is None


def test_without_pil_reading_is_assumed(here: Path, monkeypatch: pytest.MonkeyPatch):
    photos(here / "p", 40)
    monkeypatch.setattr("traintime.data.reading_time.find_spec", lambda name: None)
    reading = reading_time(read_recipe(data="./p", model="mlp", batch_size=8), find("./p"))
    assert reading
    assert reading.said.startswith("assuming that a core reads 38.1 MiB")

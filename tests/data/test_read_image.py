import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from traintime.data.read_image import UnreadableError, read_image, read_images

from .pictures import claim_size, cut_short, flip_bits, picture

GREEN = (0, 255, 0)


def mean_colour(path: Path) -> list[int]:
    return [round(float(value)) for value in read_image(path, 8).mean(axis=(0, 1))]


def test_an_image_becomes_the_square_in_its_middle(tmp_path: Path):
    wide = Image.new("RGB", (300, 100), "red")
    wide.paste(GREEN, (100, 0, 200, 100))
    wide.save(tmp_path / "wide.png")
    read = read_image(tmp_path / "wide.png", 10)
    assert (read.shape, read.dtype) == ((10, 10, 3), np.uint8)
    assert (read[1:-1, 1:-1] == GREEN).all()


def test_smaller_images_are_made_larger(tmp_path: Path):
    Image.new("RGB", (3, 2), GREEN).save(tmp_path / "small.png")
    assert (read_image(tmp_path / "small.png", 64) == GREEN).all()


def test_a_photo_is_turned_upright_as_its_camera_noted(tmp_path: Path):
    lying = Image.new("RGB", (64, 64), "black")
    lying.paste("white", (0, 0, 32, 64))  # the left half; turned clockwise it is on top
    exif = Image.Exif()
    exif[274] = 6
    lying.save(tmp_path / "lying.jpg", exif=exif, quality=95)
    read = read_image(tmp_path / "lying.jpg", 16)
    assert read[:7].min() > 240
    assert read[9:].max() < 15


def as_cmyk(path: Path) -> None:
    Image.new("RGB", (40, 40), GREEN).convert("CMYK").save(path.with_suffix(".jpg"))


def as_palette(path: Path) -> None:
    Image.new("RGB", (9, 9), GREEN).convert("P", palette=Image.Palette.ADAPTIVE).save(path)


def as_animation(path: Path) -> None:
    first, second = Image.new("RGB", (9, 9), GREEN), Image.new("RGB", (9, 9), "red")
    first.save(path.with_suffix(".gif"), save_all=True, append_images=[second])


def as_webp(path: Path) -> None:
    Image.new("RGB", (9, 9), GREEN).save(path.with_suffix(".webp"), lossless=True)


def as_tiff_named_jpg(path: Path) -> None:
    Image.new("RGB", (9, 9), GREEN).save(path.with_suffix(".jpg"), "TIFF")


@pytest.mark.parametrize("save", [as_cmyk, as_palette, as_animation, as_webp, as_tiff_named_jpg])
def test_every_usual_kind_of_image_shows_its_colours(save: Callable[[Path], None], tmp_path: Path):
    save(tmp_path / "image.png")
    (path,) = tmp_path.iterdir()
    assert np.abs(np.array(mean_colour(path)) - GREEN).max() < 4


def test_sixteen_bits_of_grey_keep_their_shades(tmp_path: Path):
    shades = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(1, 64).repeat(64, axis=0)
    Image.fromarray(shades).save(tmp_path / "scan.png")
    row = read_image(tmp_path / "scan.png", 64)[32, :, 0].astype(int)
    assert np.abs(row - np.linspace(0, 255, 64)).max() < 2


def test_what_is_transparent_becomes_white(tmp_path: Path):
    Image.new("RGBA", (9, 9), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    logo = Image.new("P", (9, 9), 0)
    logo.putpalette([255, 0, 0])
    logo.save(tmp_path / "logo.png", transparency=b"\0")
    assert mean_colour(tmp_path / "clear.png") == mean_colour(tmp_path / "logo.png") == [255] * 3


def test_damaged_exif_data_do_not_make_an_image_unreadable(tmp_path: Path):
    path = tmp_path / "edited.jpg"
    Image.new("RGB", (32, 32), GREEN).save(path, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff rubbish")
    read = read_images([path], 8)
    assert not read.unreadable
    assert read.images.mean(axis=(0, 1, 2))[1] > 250


def cut(path: Path) -> None:
    picture(width=200, height=200).save(path)
    cut_short(path)


def cut_jpeg(path: Path) -> None:
    picture(width=200, height=200).save(path, "JPEG")
    cut_short(path)


def flipped(path: Path) -> None:
    picture(width=50, height=50).save(path)
    flip_bits(path)


def broken_link(path: Path) -> None:
    path.symlink_to("nowhere.png")


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (cut, "truncated"),
        (cut_jpeg, "truncated"),
        (flipped, "."),  # the decoder's words
        (lambda path: path.touch(), "is empty"),
        (lambda path: path.write_bytes(bytes(5000)), "no image of a known format"),
        (lambda path: path.write_text("Not Found"), "no image of a known format"),
        (lambda path: path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n"), "no image of a known format"),
        (lambda path: claim_size(path, 60_000), "more pixels than any photo"),
        (lambda path: claim_size(path, 2_000), "truncated"),
        (broken_link, "leads nowhere"),
        (lambda path: None, "is gone"),
        (os.mkfifo, "is gone"),  # and is never waited for
    ],
)
def test_what_is_wrong_with_a_damaged_image_is_said(
    damage: Callable[[Path], object], why: str, tmp_path: Path
):
    damage(tmp_path / "damaged.png")
    with pytest.raises(UnreadableError, match=why):
        read_image(tmp_path / "damaged.png", 16)


def test_a_damaged_image_does_not_reach_the_others(tmp_path: Path):
    paths = [tmp_path / f"{index}.png" for index in range(20)]
    for index, path in enumerate(paths):
        Image.new("RGB", (9, 9), (index, 0, 0)).save(path)
    cut_short(paths[7], 0.2)
    paths[11].unlink()
    read = read_images(paths, 4)
    assert list(read.unreadable) == [7, 11]
    assert [int(image[0, 0, 0]) for image in read.images] == [
        0 if index in (7, 11) else index for index in range(20)
    ]


def test_reading_that_takes_long_is_told_more_and_more_rarely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("traintime.data.read_image.FIRST_SAID_S", 0.02)
    path = tmp_path / "image.png"
    picture(width=300, height=300).save(path)
    told: list[tuple[int, float]] = []
    read_images([path] * 120, 8, lambda done, seconds: told.append((done, seconds)))
    assert told
    assert told == sorted(told)
    gaps = np.diff([seconds for _, seconds in told])
    assert (gaps > 0.03).all()

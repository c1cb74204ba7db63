"""A folder of images: which classes, parts and files there are, without opening one.

Two layouts are known: a folder for each class, or folders train, validation (val) and test that
each hold a folder for each class. What is no image by its ending, and what begins with a dot, is
passed over. This module imports neither numpy nor PIL.
"""

from __future__ import annotations

import os
from pathlib import Path

from traintime.data.image_layout import File, Layout, Part, listed
from traintime.errors import InputError, nearest
from traintime.recipe.data_folder import KNOWN_DATA

PARTS: dict[Part, frozenset[str]] = {
    "train": frozenset({"train", "training"}),
    "validation": frozenset({"val", "valid", "validation"}),
    "test": frozenset({"test", "testing"}),
}
ENDINGS = frozenset(
    {
        *(".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm"),
        *(".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
    }
)
LEAST_OF_CLASS = 3
"""One each to train on, to validate on and to test on."""


def look_through(folder: Path) -> Layout:
    """Return what lies in a folder of images.

    Args:
        folder: Where to look.

    Raises:
        InputError: It is not there, or is none of images by class.
    """
    inner = _inner_folders(folder)
    roots = _roots(folder, inner)
    files: dict[Part, dict[str, tuple[File, ...]]] = {}
    ignored = [] if roots["train"] == "" else [n for n in inner if n not in roots.values()]
    for part, root in roots.items():
        place = folder / root
        found = {name: _images(place / name) for name in _folders_in(place)}
        files[part] = {name: images for name, (images, _) in found.items()}
        ignored += [
            "/".join(filter(None, (root, name, deeper)))
            for name, (_, deep) in found.items()
            for deeper in deep
        ]
    layout = Layout(roots, _without_empty_parts(files), tuple(ignored))
    _refuse_unusable(folder, layout)
    return layout


def _inner_folders(folder: Path) -> list[str]:
    if not folder.exists():
        near = nearest(folder.name, _siblings(folder.parent))
        hint = f"Did you mean '{folder.parent / near}'? " if near else ""
        raise InputError(
            f"There is no folder '{folder}'. {hint}data= takes a folder that holds a folder of "
            f"images for each class, or one of {', '.join(KNOWN_DATA)}"
        )
    if not folder.is_dir():
        raise InputError(
            f"'{folder}' is a file. data= takes a folder that holds a folder of images for each "
            "class; unpack it if it is an archive, and type the folder"
        )
    return _folders_in(folder)


def _siblings(parent: Path) -> list[str]:
    return _folders_in(parent) if parent.is_dir() else []


def _folders_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in _entries(folder) if entry.is_dir())


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith((".", "__MACOSX"))]
    except OSError as error:
        raise InputError(
            f"'{folder}' cannot be looked into ({error.strerror}). Check with: ls -ld '{folder}'"
        ) from None


def _images(folder: Path) -> tuple[tuple[File, ...], list[str]]:
    """Return the images that lie in a folder, and the folders that do."""
    images: list[File] = []
    deeper: list[str] = []
    for entry in _entries(folder):
        # A link that leads nowhere is an image that cannot be read; a pipe is none.
        if _has_image_ending(entry.name) and (entry.is_file() or _is_broken_link(entry)):
            size, changed = _stamp(entry)
            images.append((entry.name, size, changed))
        elif entry.is_dir():
            deeper.append(entry.name)
    return tuple(sorted(images)), sorted(deeper)


def _is_broken_link(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() and not Path(entry.path).exists()


def _has_image_ending(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in ENDINGS  # noqa: PTH122  # a Path takes ten times as long


def _stamp(entry: os.DirEntry[str]) -> tuple[int, int]:
    try:
        status = entry.stat()
    except OSError:
        return -1, 0
    return status.st_size, status.st_mtime_ns


def _roots(folder: Path, inner: list[str]) -> dict[Part, str]:
    """Return where the parts lie. Photos of trains are a class: that folder holds no other."""
    named: dict[Part, str] = {
        part: name
        for part, names in PARTS.items()
        for name in inner
        if name.casefold() in names and _folders_in(folder / name)
    }
    if "train" not in named:
        return {"train": ""}
    if "test" not in named and "validation" in named:
        # As everybody does with ImageNet, whose test set has no labels.
        named["test"] = named.pop("validation")
    return named


def _without_empty_parts(
    files: dict[Part, dict[str, tuple[File, ...]]],
) -> dict[Part, dict[str, tuple[File, ...]]]:
    return {
        part: classes for part, classes in files.items() if part == "train" or any(classes.values())
    }


def _refuse_unusable(folder: Path, layout: Layout) -> None:
    train = layout.files["train"]
    place = folder / layout.folders["train"]
    if not layout.count("train"):
        raise InputError(_nothing_found(place, layout))
    if len(train) < 2:
        raise InputError(
            f"'{place}' holds one class alone, '{next(iter(train))}', and telling classes apart "
            "needs two. Put the images of each into a folder of its own"
        )
    few = {name: len(files) for name, files in train.items() if len(files) < LEAST_OF_CLASS}
    if few:
        raise InputError(
            f"{listed([f'{name} ({count})' for name, count in few.items()])} of the classes in "
            f"'{place}' {'has' if len(few) == 1 else 'have'} fewer than {LEAST_OF_CLASS} images: "
            "one each to train on, to validate on and to test on. Add some, or move the folder "
            "away"
        )
    for part, classes in layout.files.items():
        unknown = [name for name, files in classes.items() if files and name not in train]
        if unknown:
            raise InputError(
                f"'{folder / layout.folders[part]}' has the class {listed(unknown)}, which "
                f"'{place}' has not. Give both folders of the same names"
            )


def _nothing_found(place: Path, layout: Layout) -> str:
    loose = _images(place)[0]
    if loose:
        return (
            f"'{place}' holds {len(loose):,} images and no folders of classes with any. Put the "
            f"images of each class into a folder of its own: {place.name}/cats, {place.name}/dogs"
        )
    deeper = f"; those in {listed(list(layout.ignored))} lie too deep" if layout.ignored else ""
    return (
        f"There are no images in folders of classes in '{place}'{deeper}. Expected is for "
        f"example {place.name}/cats/1.jpg; read are files that end in {', '.join(sorted(ENDINGS))}"
    )

"""Writes the demo set once, in MVTec AD layout, so that no reader ever sees half of it.

The layout is ``train/good``, ``val/good``, ``test/good``, ``test/<kind>`` and ``ground_truth/<kind>``.
"""

import hashlib
import shutil
import uuid
from dataclasses import astuple, dataclass
from pathlib import Path

import anomalib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anomalib_stc.data.defects import PLANTS, plant
from anomalib_stc.data.photographs import CATEGORIES, Category, Part, crop

NORMALS: dict[Part, int] = {"train": 60, "val": 20, "test": 30}
DEFECTS_PER_KIND = 10
VERSION = 1  # raise it when a change here gives other pixels for the same recipe


@dataclass(frozen=True)
class Recipe:
    """All that decides the pixels of a set."""

    category: Category
    crop_size: int
    seed: int

    @property
    def folder(self) -> str:
        """Name of the set's folder; anomalib's version is part of it because its generator plants defects."""
        arguments = f"{VERSION} {anomalib.__version__} {astuple(self)}"
        return f"{self.category}-{hashlib.sha256(arguments.encode()).hexdigest()[:10]}"


def write_demo_set(root: Path, recipe: Recipe) -> Path:
    """Return the folder of a set under ``root``; write it first if it is not there.

    The set is written to a hidden folder of its own and renamed when complete, so a killed run leaves no half
    set, and of two processes at once the second finds the first one's and drops its own.

    Raises:
        OSError: If ``root`` cannot be written.
    """
    final = root / recipe.folder
    if final.is_dir():
        return final
    draft = root / f".{recipe.folder}-{uuid.uuid4().hex}"
    try:
        draft.mkdir(parents=True)
        _write(draft, recipe)
        _publish(draft, final)
    except OSError as error:
        msg = f"Cannot write the demo set to {root} ({error}): give a writable folder as --data.root."
        raise OSError(msg) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return final


def _publish(draft: Path, final: Path) -> None:
    try:
        draft.replace(final)
    except OSError:
        if not final.is_dir():  # else another process was first with the same pixels
            raise


def _write(folder: Path, recipe: Recipe) -> None:
    random = np.random.default_rng([CATEGORIES.index(recipe.category), recipe.seed])
    for part, count in NORMALS.items():
        for index in range(count):
            _save(folder / part / "good", index, crop(recipe.category, part, recipe.crop_size, random))
    for kind in PLANTS:
        for index in range(DEFECTS_PER_KIND):
            image, mask = plant(kind, recipe.category, recipe.crop_size, random)
            _save(folder / "test" / kind, index, image)
            _save(folder / "ground_truth" / kind, index, mask.astype(np.uint8) * 255)


def _save(folder: Path, index: int, image: NDArray[np.uint8]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(folder / f"{index:03d}.png")

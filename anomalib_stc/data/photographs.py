"""The three texture photographs that come inside scikit-image's wheel, cut into bands that share no pixel."""

from importlib.resources import files
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Category = Literal["brick", "grass", "gravel"]
Part = Literal["train", "val", "test"]
CATEGORIES: tuple[Category, ...] = get_args(Category)

# Bands of the full height, columns from (inclusive) to (exclusive): perspective makes the bricks grow downwards, so
# every part has all sizes; the widths leave each part room for crops that differ.
BANDS: dict[Part, tuple[int, int]] = {"train": (0, 212), "val": (212, 352), "test": (352, 512)}
MIN_CROP, MAX_CROP = 64, 140  # the largest is the width of the narrowest band


def load_photograph(category: Category) -> NDArray[np.uint8]:
    """Read a photograph from the installed scikit-image, without its download helper.

    Returns:
        Grey values ``(512, 512)``, 0..255.

    Raises:
        FileNotFoundError: If this scikit-image was installed without its pictures.
    """
    path = files("skimage") / "data" / f"{category}.png"
    if not path.is_file():
        msg = f"The installed scikit-image has no picture {path}: install it from its wheel (pip install scikit-image)."
        raise FileNotFoundError(msg)
    with path.open("rb") as file:
        return np.asarray(Image.open(file).convert("L"))


def crop(category: Category, part: Part, side: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """Cut a square at a random place of one band, mirrored left to right half of the time.

    The mirror gives the leaning bricks of the left band to the right one too, which is not trained on.

    Returns:
        Grey values ``(side, side)``, 0..255.
    """
    photograph = load_photograph(category)
    first, end = BANDS[part]
    top = random.integers(0, len(photograph) - side, endpoint=True)
    left = random.integers(first, end - side, endpoint=True)
    square = photograph[top : top + side, left : left + side]
    return np.ascontiguousarray(square[:, ::-1] if random.random() < 0.5 else square)

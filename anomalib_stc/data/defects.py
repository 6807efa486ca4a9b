"""Defects planted in a crop: a Perlin blob (anomalib's generator), a piece of another photograph, a scar.

Sizes are fractions of the crop's side, so a defect covers the same share of an image at every crop size.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from anomalib.data.utils.generators.perlin import PerlinAnomalyGenerator
from numpy.typing import NDArray
from skimage.draw import ellipse
from skimage.measure import label

from anomalib_stc.data.photographs import CATEGORIES, Category, crop

MIN_SHIFT = 1.0  # change of the mean grey value under the defect, in standard deviations of the crop: an eye finds it
AREA = (0.003, 0.08)  # share of the crop a defect covers: from a thin scar to a blob that leaves most of it normal
BLEND = (0.4, 0.8)  # weight of the Perlin pattern in its blob: below, it drowns in the texture
PATCH_RADIUS = (0.07, 0.13)  # half axes of a pasted piece: 1.5 to 5 % of the crop
SCAR_LENGTH = (0.15, 0.28)  # half length of a scar
SCAR_WIDTH = (0.016, 0.03)  # half width of a scar: 4 to 8 pixels across in a crop of 130
TONE_SHIFT = (1.2, 1.8)  # by which a pasted piece is darker or brighter, in its own standard deviations
TRIES = 200


class Planted(NamedTuple):
    """A crop with its defect: ``image (H, W)`` in 0..255 and ``mask (H, W)``, true on the defect."""

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]


Plant = Callable[[NDArray[np.uint8], Category, np.random.Generator], Planted]


def plant_perlin(image: NDArray[np.uint8], _category: Category, random: np.random.Generator) -> Planted:
    """Blend the largest blob of one Perlin anomaly into the crop; torch's random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(random.integers(2**31)))
        generator = PerlinAnomalyGenerator(probability=1.0, blend_factor=BLEND)
        changed, mask = generator(torch.from_numpy(image).float().div(255).expand(3, -1, -1))
    grey = changed.mean(dim=0).mul(255).round().clamp(0, 255).to(torch.uint8).numpy()
    return _paste(image, grey, _largest_blob(mask[0].numpy() > 0))


def plant_foreign(image: NDArray[np.uint8], category: Category, random: np.random.Generator) -> Planted:
    """Paste a piece of another photograph, as grass that grew through gravel."""
    others = [name for name in CATEGORIES if name != category]
    piece = crop(others[random.integers(len(others))], "test", len(image), random)
    return _paste(image, _toned(piece, random), _ellipse(len(image), random, PATCH_RADIUS, PATCH_RADIUS))


def plant_scar(image: NDArray[np.uint8], category: Category, random: np.random.Generator) -> Planted:
    """Paste a thin strip cut from elsewhere in the same photograph and turned by a quarter, as a scratch."""
    strip = np.rot90(crop(category, "test", len(image), random))
    return _paste(image, _toned(strip, random), _ellipse(len(image), random, SCAR_LENGTH, SCAR_WIDTH))


PLANTS: dict[str, Plant] = {"foreign": plant_foreign, "perlin": plant_perlin, "scar": plant_scar}


def plant(kind: str, category: Category, side: int, random: np.random.Generator) -> Planted:
    """Cut a test crop and plant one visible defect in it, drawing again until size and contrast are in bounds.

    Raises:
        RuntimeError: If no draw is in bounds, which no seed of the tests met.
    """
    for _ in range(TRIES):
        image = crop(category, "test", side, random)
        planted = PLANTS[kind](image, category, random)
        if AREA[0] <= planted.mask.mean() <= AREA[1] and _contrast(image, planted) >= MIN_SHIFT:
            return planted
    msg = f"No visible {kind} defect came up in {TRIES} draws for {category} at {side} pixels: take another seed."
    raise RuntimeError(msg)


def _contrast(image: NDArray[np.uint8], planted: Planted) -> float:
    shift = planted.image[planted.mask].mean() - image[planted.mask].mean()
    return float(abs(shift) / image.std())


def _paste(image: NDArray[np.uint8], source: NDArray[np.uint8], mask: NDArray[np.bool_]) -> Planted:
    return Planted(np.where(mask, source, image), mask)


def _toned(piece: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    shift = piece.std() * random.uniform(*TONE_SHIFT) * random.choice([-1, 1])
    return np.clip(piece + shift, 0, 255).astype(np.uint8)


def _ellipse(
    side: int, random: np.random.Generator, rows: tuple[float, float], columns: tuple[float, float]
) -> NDArray[np.bool_]:
    """Draw an ellipse of random half axes (ranges in fractions of ``side``), place and turn: ``(side, side)``."""
    half = side * np.array([random.uniform(*rows), random.uniform(*columns)])
    centre = random.uniform(half.max(), side - half.max(), size=2)
    mask = np.zeros((side, side), dtype=bool)
    turn = random.uniform(-np.pi, np.pi)
    mask[ellipse(centre[0], centre[1], half[0], half[1], shape=mask.shape, rotation=turn)] = True
    return mask


def _largest_blob(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    blobs = label(mask)
    return blobs == 1 + np.argmax(np.bincount(blobs.ravel())[1:])

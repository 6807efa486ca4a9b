"""Superpixels by SLIC, computed once for every image, whichever data set, order or process it comes from."""

import hashlib
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage.segmentation import slic
from torch import Tensor

from anomalib_stc.parts.checks import check, check_positive

logger = logging.getLogger(__name__)
KEPT = 4096  # segments in memory at most: 0.5 GiB at 256 x 256; augmented images would pile up without end
FILES = 16384  # in a folder at most, for the same reason; ten thousand normal images fit
MOST = 16384  # SLIC may give some more; their numbers are kept in 16 bits


class SegmentCache:
    """Segments of images, kept by what is in the image: in memory, and in a folder where one is given.

    An image of 256 x 256 pixels takes 128 KiB. A file has its name only when all is in it; one that cannot be read is
    made anew. A folder holds `FILES` at most, of all runs together, 2 GiB at 256 x 256; what is in it then serves on.

    Args:
        cells: Number of superpixels asked for.
        compactness: Weight of nearness against likeness of colour, for images in [0, 1].
        folder: Where segments are kept from one run to the next; it is made on first use.

    Raises:
        ValueError: If there are too many cells, or the compactness is not positive.
    """

    def __init__(self, cells: int, compactness: float, folder: str | Path | None = None) -> None:
        check("Number of superpixels", cells, cells <= MOST, f"at most {MOST}")
        check_positive("Compactness", compactness, 10.0)
        self.cells = cells
        self.compactness = compactness
        self.folder = None if folder is None else Path(folder)
        self.known: dict[str, Tensor] = {}
        self.full = False  # the folder

    def __getstate__(self) -> dict[str, Any]:
        """Leave the segments out of a pickle: only training needs them, and they can be made again."""
        return {**self.__dict__, "known": {}}

    def __call__(self, image: Tensor) -> Tensor:
        """Return the number of the segment of every pixel (H, W), int16 on the CPU, of an image (3, H, W) in [0, 1].

        Colours are rounded to 8 bit first: what differs by less has the same segments.
        """
        pixels = (image.detach().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        key = self.key(pixels)
        if key in self.known:
            return self.known[key]
        segments = torch.from_numpy(self._stored(key, pixels))
        if len(self.known) < KEPT:
            self.known[key] = segments
        return segments

    def key(self, pixels: np.ndarray) -> str:
        """Return a name for the segments of an image (H, W, 3), uint8."""
        settings = f"{pixels.shape} {self.cells} {self.compactness}".encode()
        return hashlib.sha256(settings + pixels.tobytes()).hexdigest()[:32]

    def _stored(self, key: str, pixels: np.ndarray) -> np.ndarray:
        if self.folder is None:
            return self._segments(pixels)
        path = self.folder / f"{key}.npy"
        try:
            segments = np.load(path)
        except (OSError, ValueError, EOFError):
            segments = None
        if segments is None or segments.shape != pixels.shape[:2]:
            segments = self._segments(pixels)
            if self._has_room(self.folder):
                write_whole(path, segments)
        return segments

    def _has_room(self, folder: Path) -> bool:
        """Return whether one more file may go to a folder, which other processes fill too; say once if it may not."""
        if not self.full and folder.is_dir() and sum(1 for _ in os.scandir(folder)) >= FILES:
            self.full = True
            logger.warning(
                "%s holds %d superpixel files, the most that are kept: empty it if they are of no more use.",
                folder,
                FILES,
            )
        return not self.full

    def _segments(self, pixels: np.ndarray) -> np.ndarray:
        found = slic(pixels / np.float32(255), self.cells, self.compactness, start_label=0, channel_axis=-1)
        return found.astype(np.int16)


def write_whole(path: Path, array: np.ndarray) -> None:
    """Write an array to a file that has its name only when all is in it.

    Raises:
        ValueError: If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix="partial-") as place:
            draft = Path(place) / path.name
            np.save(draft, array)
            draft.replace(path)
    except OSError as error:
        msg = f"Superpixels cannot be kept in {path.parent} ({error}): give a folder that can be written."
        raise ValueError(msg) from error

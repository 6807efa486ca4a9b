"""Masks of what an inpainting network has to fill, 1 where the image is hidden.

For training free-form strokes (Yu et al., ICCV 2019) and grids of cells, for scoring complementary grids.
"""

from math import ceil, floor

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F

STROKE = (0.03, 0.09)  # width of a stroke, as a share of the image's shorter side
TURN = 0.4  # radians a stroke turns at most from one disc to the next
DISCS = 64  # along a stroke, each a radius further


class TrainingMasks:
    """Random masks, half of them strokes and half of them cells of a grid, of a random share of the area.

    Args:
        area: Least and largest share of the image that is hidden, in (0, 1).
        cells: Least and largest side of a cell in pixels; powers of two between them are drawn, or the
            least.

    Raises:
        ValueError: If a range is empty or out of its bounds.
    """

    def __init__(self, area: tuple[float, float] = (0.1, 0.6), cells: tuple[int, int] = (8, 32)) -> None:
        if len(area) != 2 or not 0 < area[0] <= area[1] < 1:
            msg = f"Area of masks is {area}, expected least and largest share of the image, as (0.1, 0.6)."
            raise ValueError(msg)
        if len(cells) != 2 or not 1 <= cells[0] <= cells[1]:
            msg = f"Cells of masks are {cells}, expected least and largest side in pixels, as (8, 32)."
            raise ValueError(msg)
        self.area = area
        self.sides = [side for side in (2**power for power in range(12)) if cells[0] <= side <= cells[1]] or [cells[0]]

    def __call__(self, image: Tensor) -> Tensor:
        """Return masks (B, 1, H, W) for images (B, C, H, W), on their device and of their type."""
        height, width = image.shape[-2:]
        return torch.stack([self.one(height, width) for _ in image]).to(image)

    def one(self, height: int, width: int) -> Tensor:
        """Return one mask (1, H, W); random numbers come from torch's global generator on the CPU."""
        low, high = self.area
        share = low + (high - low) * float(torch.rand(()))
        return strokes(height, width, share) if torch.rand(()) < 0.5 else self.grid(height, width, share)

    def grid(self, height: int, width: int, share: float) -> Tensor:
        """Hide cells of a grid at a random place until a share of the image (1, H, W) is hidden, to half a cell."""
        side = self.sides[int(torch.randint(len(self.sides), ()))]
        up, left = (int(torch.randint(side, ())) for _ in range(2))
        row, column = (torch.arange(height) + up) // side, (torch.arange(width) + left) // side
        cell = row[:, None] * (int(column.max()) + 1) + column
        order = torch.rand(int(cell.max()) + 1).argsort()
        size = cell.flatten().bincount()[order]
        hidden = torch.zeros(len(order))
        hidden[order] = (size.cumsum(0) - size / 2 < share * height * width).float()
        return hidden[cell][None]


def strokes(height: int, width: int, share: float) -> Tensor:
    """Draw strokes, rows of discs in a slowly turning direction, until a share of the image (1, H, W) is hidden."""
    canvas = Image.new("L", (width, height))
    pen = ImageDraw.Draw(canvas)
    low, high = (part * min(height, width) for part in STROKE)
    hidden = 0
    while hidden < share * height * width:
        radius = (low + (high - low) * float(torch.rand(()))) / 2
        heading = ((torch.rand(DISCS) - 0.5) * 2 * TURN).cumsum(0) + float(torch.rand(())) * 2 * torch.pi
        steps = torch.stack([heading.cos(), heading.sin()], 1) * radius
        start = torch.rand(2) * torch.tensor([width, height])
        for left, top in (start + steps.cumsum(0)).tolist():
            disc = (left - radius, top - radius, left + radius, top + radius)
            around = (floor(disc[0]), floor(disc[1]), ceil(disc[2]) + 1, ceil(disc[3]) + 1)
            hidden -= inked(canvas, around)
            pen.ellipse(disc, fill=1)
            hidden += inked(canvas, around)
            if hidden >= share * height * width:
                break
    return torch.from_numpy(np.array(canvas, dtype=np.float32))[None]


def inked(canvas: Image.Image, box: tuple[int, int, int, int]) -> int:
    """Return how many pixels of a box (left, top, right, bottom) are inked; what is beyond the canvas is not."""
    return canvas.crop(box).histogram()[1]


def complementary(height: int, width: int, count: int, cell: int) -> Tensor:
    """Return masks (count, 1, H, W) that hide every pixel exactly once: cells in diagonal turns.

    Args:
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        count: Number of masks; each hides one cell in ``count``.
        cell: Side of a cell in pixels.
    """
    rows, columns = torch.arange(height) // cell, torch.arange(width) // cell
    turn = (rows[:, None] + columns) % count
    return F.one_hot(turn, count).permute(2, 0, 1)[:, None].float()

"""Which images the models take, and how maps of different grids come together."""

from collections.abc import Sequence
from operator import index

import torch
from torch import Tensor
from torch.nn import functional as F

IMAGE_SIZE = 256  # pixels of a side that the models work at unless told otherwise
STRIDE = 16  # pixels of the side of the coarsest cell of every model
LEAST = 64
CELL = 4  # pixels of the side of the finest cell that a score looks at; its map is smoother than that
SLACK = 1e-3  # of values outside of 0..1: rounding, and the overshoot of a filter


def checked(image: Tensor, dtype: torch.dtype) -> Tensor:
    """Return images (B, 3, H, W) as `within` does, if they are what the models take.

    What depends on values is not asked while a graph is traced: there, images are clamped and nothing is said.

    Args:
        image: Images, floating point in 0..1, sides multiples of 16 from 64.
        dtype: Type of the network's weights.

    Raises:
        ValueError: If they are not.
    """
    if image.ndim != 4 or image.shape[1] != 3 or image.shape[0] == 0:  # `len` would fix an export's batch
        msg = (
            f"Image of shape {tuple(image.shape)} came where (B, 3, H, W) is expected, one image at least: add the "
            "batch's dimension, or bring three channels to the second place."
        )
        raise ValueError(msg)
    check_floating(image)
    height, width = image.shape[-2:]
    if height % STRIDE or width % STRIDE or min(height, width) < LEAST:
        msg = f"Image is {height} x {width}, expected multiples of {STRIDE} from {LEAST}: set image_size or resize it."
        raise ValueError(msg)
    if not (torch.compiler.is_compiling() or torch.jit.is_tracing()):
        _check_range(image)
    return within(image, dtype)


def check_floating(image: Tensor) -> None:
    """Raise a `ValueError` unless images are floating point."""
    if not image.is_floating_point():
        msg = f"Image of type {image.dtype} came where floating point in 0..1 is expected: divide it by its maximum."
        raise ValueError(msg)


def _check_range(image: Tensor) -> None:
    low, high = torch.stack(image.detach().aminmax()).tolist()  # one look at the device's numbers
    if not (low >= -SLACK and high <= 1 + SLACK):
        msg = (
            f"Image has values from {low:.4g} to {high:.4g}, expected 0 to 1: divide what is in 0..255 by 255, and "
            "take Normalize out of the pre-processor and the data module's augmentations."
        )
        raise ValueError(msg)


def within(image: Tensor, dtype: torch.dtype) -> Tensor:
    """Return images clamped to 0..1, of the given type."""
    return image.clamp(0, 1).to(dtype)


def height_and_width(image_size: int | Sequence[int], stride: int = 1, least: int = 1) -> tuple[int, int]:
    """Read height and width from one number or two, each of which has to be a multiple of the stride from the least.

    Raises:
        ValueError: If they are not.
    """
    sides = _whole_numbers(image_size)
    if len(sides) != 2 or any(side < least or side % stride for side in sides):
        nearest = max(round(max(sides, default=0) / stride), -(-least // stride)) * stride
        wanted = "positive" if stride == 1 else f"a multiple of {stride} from {max(least, stride)}"
        msg = (
            f"Image size {image_size} came where one number or (height, width) is expected, each {wanted}: choose for "
            f"example {nearest}."
        )
        raise ValueError(msg)
    return sides[0], sides[1]


def _whole_numbers(image_size: int | Sequence[int]) -> tuple[int, ...]:
    """Return one number twice, some as they are, and none where something else came."""
    try:
        return tuple(map(index, image_size)) if isinstance(image_size, Sequence) else (index(image_size),) * 2
    except TypeError:
        return ()


def resize_maps(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Bring maps (B, C, h, w) to the given height and width, bilinear."""
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def neighbours(maps: Tensor, reach: int) -> Tensor:
    """Return the mean of every place of maps (B, C, h, w) and those around it; beyond the border there is nothing."""
    return F.avg_pool2d(maps, 2 * reach + 1, 1, reach, count_include_pad=False)


def in_cells(maps: Tensor, image: tuple[int, ...]) -> Tensor:
    """Return maps (B, C, h, w) as means of cells of 4 pixels of the image, if they are finer.

    Args:
        maps: Maps of an image.
        image: Height and width of the image.
    """
    step = maps.shape[-1] * CELL // image[-1]
    return F.avg_pool2d(maps, step) if step > 1 else maps

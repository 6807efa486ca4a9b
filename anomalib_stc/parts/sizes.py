"""Sizes: which images the models take, and how maps of different grids come together."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

IMAGE_SIZE = 256  # pixels of a side that the models work at unless told otherwise
STRIDE = 16  # pixels of the side of the coarsest cell of every model
LEAST = 64


def check_image(image: Tensor) -> None:
    """Raise a `ValueError` unless both sides of images (B, 3, H, W) are multiples of 16, 64 or more."""
    height, width = image.shape[-2:]
    if height % STRIDE or width % STRIDE or min(height, width) < LEAST:
        msg = f"Image is {height} x {width}, expected multiples of {STRIDE} from {LEAST}: set image_size or resize it."
        raise ValueError(msg)


def height_and_width(image_size: int | Sequence[int], stride: int = 1) -> tuple[int, int]:
    """Read height and width from one number or two, each of which has to be a positive multiple of the stride."""
    sides = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(sides) != 2 or any(side <= 0 or side % stride for side in sides):
        nearest = max(round(max(sides, default=0) / stride), 1) * stride
        msg = (
            f"Image size {image_size} came where one number or (height, width) is expected, each a positive multiple "
            f"of {stride}: choose for example {nearest}."
        )
        raise ValueError(msg)
    return sides[0], sides[1]


def resize_maps(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Bring maps (B, C, h, w) to the given height and width, bilinear."""
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)

"""Which images the models take."""

from torch import Tensor


def check_size(image: Tensor) -> None:
    """Raise a `ValueError` unless both sides are multiples of 16, 64 or more."""
    height, width = image.shape[-2:]
    if height % 16 or width % 16 or min(height, width) < 64:
        msg = f"Image is {height} x {width}, expected multiples of 16 from 64: set image_size or resize it."
        raise ValueError(msg)

"""Images that models meet outside of the laboratory: black, flat, saturated, and real ones where there are some."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_tensor

VARIABLE = "ANOMALIB_STC_DATA"  # names a folder of sets in MVTec AD layout


def _filled(value: float) -> Callable[[Tensor], Tensor]:
    return lambda image: torch.full_like(image, value)


def _half_black(image: Tensor) -> Tensor:
    image[..., : image.shape[-1] // 2] = 0
    return image


def _bright_pixel(image: Tensor) -> Tensor:
    image = torch.zeros_like(image)
    image[..., image.shape[-2] // 2, image.shape[-1] // 2] = 1
    return image


def _step(image: Tensor) -> Tensor:
    image = torch.zeros_like(image)
    image[..., image.shape[-1] // 2 :] = 1
    return image


def _checkerboard(image: Tensor) -> Tensor:
    rows, columns = (torch.arange(side) // 4 for side in image.shape[-2:])
    return ((rows[:, None] + columns) % 2).to(image).expand_as(image)


FLAT: dict[str, Callable[[Tensor], Tensor]] = {
    "black": _filled(0.0),
    "white": _filled(1.0),
    "constant": _filled(0.4),
    "half black": _half_black,
    "saturated": lambda image: (4 * image - 1.5).clamp(0, 1),
    "one bright pixel": _bright_pixel,
    "step": _step,
    "checkerboard": _checkerboard,
}


def made_images(name: str, size: tuple[int, int]) -> Tensor:
    """Return the image (1, 3, *size) in [0, 1] of one of the kinds of `FLAT`."""
    return FLAT[name](torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)))


def real_sets() -> list[str]:
    """Return the names of all sets in the user's folder, or in its folders; none where none is named."""
    root = Path(os.environ.get(VARIABLE) or "nowhere")
    found = [path.parents[1] for depth in ("*", "*/*") for path in root.glob(f"{depth}/train/good")]
    return sorted(path.relative_to(root).as_posix() for path in found)


def real_images(folder: Path, count: int = 4) -> Iterator[Tensor]:
    """Yield some images (1, 3, H, W) of every test folder of a set in MVTec AD layout, at their own size."""
    for kind in sorted((folder / "test").iterdir()):
        for path in sorted(kind.iterdir())[:count]:
            yield to_tensor(Image.open(path).convert("RGB"))[None]

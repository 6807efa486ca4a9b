"""One anti-aliased resize for data loading, training and every export."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchvision import tv_tensors
from torchvision.transforms import v2

from anomalib_stc.parts.sizes import check_floating


def triangle_weights(size_in: int, size_out: int, like: Tensor) -> Tensor:
    """Weights of the anti-aliased bilinear filter along one side, shape (size_out, size_in), rows summing to one.

    Output pixel i is centred at (i + 1/2) * size_in / size_out. Its weights fall linearly to zero over one output
    pixel when the image shrinks and over one input pixel when it grows: the filter of Pillow and of
    ``interpolate(mode="bilinear", antialias=True)``. ``size_in`` may be a symbolic size of an export.
    """
    scale = size_in / size_out
    centres = (torch.arange(size_out, dtype=like.dtype, device=like.device) + 0.5) * scale
    pixels = torch.arange(size_in, dtype=like.dtype, device=like.device) + 0.5
    reach = torch.clamp(torch.ones_like(centres) * scale, min=1.0)[:, None]
    weights = torch.clamp(1.0 - (pixels[None, :] - centres[:, None]).abs() / reach, min=0.0)
    return weights / weights.sum(dim=1, keepdim=True)


def resize_by_products(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize by one matrix product per side: plain arithmetic, which every export format computes alike.

    Args:
        image: Floating point images (..., H, W).
        size: Height and width of the result.
    """
    rows = triangle_weights(image.shape[-2], size[0], like=image)
    columns = triangle_weights(image.shape[-1], size[1], like=image)
    return rows @ (image @ columns.T)


def resize_by_kernel(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize by torch's own kernel: the same filter, five times quicker for photographs, but not exportable."""
    batch = image.reshape(-1, 1, *image.shape[-2:])
    resized = functional.interpolate(batch, size, mode="bilinear", antialias=True, align_corners=False)
    return resized.reshape(*image.shape[:-2], *size)


class Resize(v2.Resize):
    """Anti-aliased bilinear resize that gives the same pixels in the data loader, in torch and in every export.

    Images (..., 3, H, W) or grey images (..., 1, H, W), floating point in 0..1, become (..., 3, h, w) in 0..1; masks
    are resized by nearest neighbour. A tensor that has the size already is returned as it is, so a second
    application changes nothing. Being a ``Resize``, it is found by anomalib's data modules, which then resize each
    image before they stack a batch; it has the name, so that programs find it that look for one by its name.

    Args:
        size: Height and width of the result, or one number: both where it is an ``int``, the shorter side where it is
            a list of one, which torchvision makes of an ``int``.
        max_size: Longest side of the result, where the shorter side is given.

    Raises:
        ValueError: If an image has other than one or three channels, is not floating point, or if a size that depends
            on the image is to be exported.
    """

    def __init__(self, size: int | Sequence[int], max_size: int | None = None) -> None:
        sides = (size, size) if isinstance(size, int) else size
        super().__init__(sides, interpolation=v2.InterpolationMode.BILINEAR, max_size=max_size, antialias=True)

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Resize one image or mask; called by torchvision for each entry of a sample."""
        if not is_image(inpt):
            return super().transform(inpt, params)
        image = three_channels(inpt)
        size = self._sides(image)
        return image if _has_size(image, size) else _like(self._resize(image, size), inpt)

    def _sides(self, image: Tensor) -> tuple[int, int]:
        """Return height and width of the result."""
        if len(self.size) == 2:
            return self.size[0], self.size[1]
        if torch.compiler.is_exporting():
            msg = f"Resize({self.size[0]}) gives an image the size that its ratio asks for: give height and width."
            raise ValueError(msg)
        height, width = image.shape[-2:]
        scale = self.size[0] / min(height, width)
        if self.max_size is not None:
            scale = min(scale, self.max_size / max(height, width))
        return int(scale * height + 1e-6), int(scale * width + 1e-6)

    def _resize(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        exact = image.to(torch.promote_types(image.dtype, torch.float32))
        resize = resize_by_products if torch.compiler.is_exporting() else resize_by_kernel
        return resize(exact, size).to(image.dtype)


class ThreeChannels(v2.Transform):
    """Repeats a grey image to three equal channels; masks stay as they are.

    Raises:
        ValueError: If an image has other than one or three channels, or is not floating point.
    """

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Return one image with three channels; called by torchvision for each entry of a sample."""
        del params
        return three_channels(inpt) if is_image(inpt) else inpt


def three_channels(image: Tensor) -> Tensor:
    """Repeat a grey image (..., 1, H, W) to three equal channels and refuse what is no image in 0..1."""
    if image.ndim < 3 or image.shape[-3] not in {1, 3}:
        msg = (
            f"Image of shape {tuple(image.shape)} came where (..., 3, H, W) or (..., 1, H, W) is expected: convert it."
        )
        raise ValueError(msg)
    check_floating(image)
    if image.shape[-3] == 3:
        return image
    return _like(image.expand(*image.shape[:-3], 3, *image.shape[-2:]), image)


def is_image(value: Any) -> bool:
    """Return whether this entry of a sample is an image: a tensor that torchvision has not marked as something else."""
    marked = isinstance(value, tv_tensors.TVTensor)
    return isinstance(value, Tensor) and (not marked or isinstance(value, tv_tensors.Image))


def _has_size(image: Tensor, size: Sequence[int]) -> bool:
    """Whether the image has this size for certain; a symbolic side of an export counts as any size."""
    sides = image.shape[-2:]
    return all(isinstance(side, int) for side in sides) and tuple(sides) == tuple(size)


def _like(value: Tensor, original: Tensor) -> Tensor:
    return tv_tensors.wrap(value, like=original) if isinstance(original, tv_tensors.TVTensor) else value

"""Texture features on a grid of stride 8: what the memory's values are compared with.

Two kinds: a frozen backbone, or, from scratch, the pixels themselves. Every level has unit length at every position,
so a deep level with large numbers does not drown a shallow one (chosen on two of the development sets).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomalib_stc.parts.backbone import architecture, create_backbone, load_pretrained
from anomalib_stc.parts.checks import check_positive
from anomalib_stc.parts.rounding import unit

GRID_STRIDE = 8
LEVEL_STRIDES = (4, 8, 16)
COLOUR = 1.0  # weight of colours beside features of unit length; 4 drowned these on a texture


class Seen(NamedTuple):
    """Images, as they are looked at."""

    image: Tensor  # (B, 3, H, W), in [0, 1]
    features: Tensor  # (B, C, H/8, W/8)
    fine: Tensor  # (B, c, H/4, W/4): the finest features


def split(seen: Iterable[Seen]) -> list[Seen]:
    """Return the images of batches one by one."""
    return [Seen(*one) for batch in seen for one in zip(*(part.split(1) for part in batch), strict=True)]


class TextureFeatures(nn.Module, ABC):
    """Images (B, 3, H, W) in [0, 1] to features (B, channels, H/8, W/8).

    Attributes:
        channels: Channels in all.
        finest: The first of them, of a level finer than the grid.
        shallow: The first of them, of levels that are not coarser than the grid.
        deep: The first of them that are features of texture.
    """

    channels: int
    finest: int
    shallow: int
    deep: int

    def load(self) -> None:
        """Load pretrained weights, where there are any; called once, before training."""

    def portable(self) -> dict[str, str]:
        """Return the argument ``backbone`` that builds the same features where a folder is gone, if it takes one."""
        return {}

    def forward(self, image: Tensor) -> Tensor:
        """Return the features of the images."""
        return self.levels(image)[0]

    def see(self, image: Tensor) -> Seen:
        """Return images and all that is known of them."""
        return Seen(image, *self.levels(image))

    @abstractmethod
    def levels(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features of images, and the finest of them on their own grid (B, c, H/4, W/4)."""

    def colour(self, features: Tensor) -> Tensor:
        """Return the mean colours (B, 3, h, w) in [0, 1] of the cells; mid-grey where features do not tell."""
        return torch.full_like(features[:, :3], 0.5)


class BackboneFeatures(TextureFeatures):
    """Features of strides 4, 8 and 16 of a frozen timm network, each of unit length, brought to one grid.

    Args:
        name: A timm name or ``local-dir:FOLDER``.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.network = create_backbone(name, LEVEL_STRIDES).requires_grad_(requires_grad=False)
        self.architecture = architecture(name)  # the folder may be gone when it is asked for
        info: Any = self.network.feature_info
        config: Any = self.network.default_cfg
        self.channels = self.deep = sum(info.channels())
        self.finest, self.shallow = info.channels()[0], self.channels - info.channels()[-1]
        self.mean: Tensor
        self.std: Tensor
        self.eval()  # Lightning keeps every module in the mode it finds it in
        self.register_buffer("mean", torch.tensor(config["mean"])[:, None, None])
        self.register_buffer("std", torch.tensor(config["std"])[:, None, None])

    def load(self) -> None:
        """Load the ImageNet weights."""
        load_pretrained(self.network, self.name)

    def portable(self) -> dict[str, str]:
        """Return the architecture of a folder's network; its weights, mean and deviation are in the state."""
        return {} if self.architecture == self.name else {"backbone": self.architecture}

    def train(self, mode: bool = True) -> "BackboneFeatures":
        """Stay in evaluation mode: a frozen network has no batch statistics to learn."""
        del mode
        return super().train(mode=False)

    def levels(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return features whose squared length is the number of levels, and the finest level."""
        size = (image.shape[-2] // GRID_STRIDE, image.shape[-1] // GRID_STRIDE)
        levels = self.network((image - self.mean) / self.std)
        return torch.cat([unit(_to_grid(level, size)) for level in levels], dim=1), unit(levels[0])


class PatchFeatures(TextureFeatures):
    """The pixels of every 8 x 8 cell: the texture itself, for a model from scratch."""

    finest = 0
    channels = shallow = deep = 3 * GRID_STRIDE**2

    def levels(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pixels of every cell less mid-grey, and those of cells half as wide."""
        pixels = image - 0.5
        return F.pixel_unshuffle(pixels, GRID_STRIDE), F.pixel_unshuffle(pixels, GRID_STRIDE // 2)


class ColouredFeatures(TextureFeatures):
    """Features of another kind and the mean colour of every cell, which features of unit length know little of.

    Args:
        texture: The other features.
        weight: Factor of the colours less mid-grey, in [0, 1] before.

    Raises:
        ValueError: If the weight is not positive.
    """

    def __init__(self, texture: TextureFeatures, weight: float) -> None:
        super().__init__()
        check_positive("Weight of colours", weight, COLOUR)
        self.texture = texture
        self.weight = weight
        self.channels = texture.channels + 3
        self.finest, self.shallow, self.deep = texture.finest, texture.shallow, texture.deep

    def load(self) -> None:
        """Load what the other features load."""
        self.texture.load()

    def portable(self) -> dict[str, str]:
        """Return what the other features need."""
        return self.texture.portable()

    def levels(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return features, then three channels of colour, and the finest features."""
        texture, fine = self.texture.levels(image)
        colour = F.avg_pool2d(image - 0.5, GRID_STRIDE)
        return torch.cat([texture, self.weight * colour], dim=1), fine

    def colour(self, features: Tensor) -> Tensor:
        """Return the colours among the features."""
        return features[:, -3:] / self.weight + 0.5


def texture_features(backbone: str, colour: float = 0.0) -> TextureFeatures:
    """Return the features of a backbone, or of the pixels for ``none``, and colours where they have a weight."""
    features = PatchFeatures() if backbone == "none" else BackboneFeatures(backbone)
    return ColouredFeatures(features, colour) if colour else features


def _to_grid(level: Tensor, size: tuple[int, int]) -> Tensor:
    if level.shape[-2] > size[0]:
        return F.avg_pool2d(level, level.shape[-2] // size[0])
    return F.interpolate(level, size=size, mode="bilinear", align_corners=False)

"""Structures of an image: the interface and the computed, low-level one (edges)."""

from abc import ABC, abstractmethod

import torch
from kornia.filters import get_gaussian_kernel1d
from torch import Tensor, nn
from torch.nn import functional as F

from anomalib_stc.parts.checks import check, check_positive
from anomalib_stc.parts.rounding import EPSILON, root, unit

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as kornia's Canny
STRIDES = (1, 2, 4)  # that a branch's encoder takes
DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))  # (dy, dx) of the neighbours of non-maximum suppression


class StructureExtractor(nn.Module, ABC):
    """Maps an image to its structure; frozen, and differentiable with respect to the image.

    Attributes:
        channels: Channels of the structure.
        stride: Pixels of the image a pixel of the structure: 1, 2 or 4, or 8 on the feature grid.
    """

    channels: int
    stride: int

    def portable(self) -> dict[str, Tensor]:
        """Return the argument ``semantic`` that builds the same where a file is gone, if it takes one."""
        return {}

    @abstractmethod
    def forward(self, image: Tensor, features: Tensor | None) -> Tensor:
        """Return the structure (B, channels, H / stride, W / stride), in [0, 1].

        Args:
            image: Images (B, 3, H, W) in [0, 1].
            features: Texture features of the images, for extractors that need them.
        """


class SoftCanny(StructureExtractor):
    """Edges after Canny, every step of it smooth: Gaussian gradient, thinning, threshold; nothing is learned.

    Args:
        sigma: Width of the Gaussian, in pixels of the reduced image.
        threshold: Gradient magnitude of an edge of strength one half, for images in [0, 1] and Sobel's kernel; the
            default lies between the two thresholds of kornia's Canny, where the F-score against it is highest.
        stride: The image is averaged over cells of this side first: 2 costs a quarter of the time of 1.

    Raises:
        ValueError: If a number is out of range.
    """

    channels = 1

    def __init__(self, sigma: float = 1.0, threshold: float = 0.18, stride: int = 2) -> None:
        super().__init__()
        check_positive("Width of the edges' Gaussian", sigma, 1.0)
        check_positive("Threshold of edges", threshold, 0.18)
        check("Stride of edges", stride, stride in STRIDES, "1, 2 or 4")
        self.threshold = threshold
        self.stride = stride
        self.luma: Tensor
        self.column: Tensor
        self.row: Tensor
        self.compass: Tensor
        self.neighbours: Tensor
        column, row = gradient_kernels(sigma)
        cell = torch.full((stride, stride), 1 / stride**2)
        self.register_buffer("luma", torch.tensor(LUMA)[None, :, None, None] * cell, persistent=False)
        self.register_buffer("column", column, persistent=False)
        self.register_buffer("row", row, persistent=False)
        compass, neighbours = direction_kernels()
        self.register_buffer("compass", compass, persistent=False)
        self.register_buffer("neighbours", neighbours, persistent=False)

    def forward(self, image: Tensor, features: Tensor | None = None) -> Tensor:
        """Return the edge strength (B, 1, H / stride, W / stride)."""
        del features
        gradient = self.gradient(F.conv2d(image, self.luma, stride=self.stride))
        square = gradient.square().sum(1, keepdim=True)
        magnitude = root(square)
        ridge = magnitude - self.ridge_neighbour(gradient / magnitude, magnitude)
        thin = torch.sigmoid(16 * ridge / (magnitude + 0.02))
        power = (square / self.threshold**2).square()  # 52,000 at most: half precision ends at 65,000
        return thin * power / (power + 1)

    def gradient(self, grey: Tensor) -> Tensor:
        """Return the smoothed x and y derivative (B, 2, H, W) of grey images (B, 1, H, W)."""
        margin = self.row.shape[-1] // 2
        padded = F.pad(grey, (margin,) * 4, mode="replicate")
        return F.conv2d(F.conv2d(padded, self.column), self.row, groups=2)

    def ridge_neighbour(self, direction: Tensor, magnitude: Tensor) -> Tensor:
        """Return the larger magnitude of the two neighbours along the gradient, as a smooth mixture of directions.

        Args:
            direction: Unit gradients (B, 2, H, W), x first.
            magnitude: Gradient magnitudes (B, 1, H, W).
        """
        padded = F.pad(magnitude, (1, 1, 1, 1), mode="replicate")
        ahead, behind = F.conv2d(padded, self.neighbours).chunk(2, 1)
        weights = F.conv2d(direction, self.compass).square().square().square()
        total = (weights * torch.maximum(ahead, behind)).sum(1, keepdim=True)
        return total / (weights.sum(1, keepdim=True) + EPSILON)


def gradient_kernels(sigma: float) -> tuple[Tensor, Tensor]:
    """Return the two passes of Gaussian and Sobel: columns (2, 1, k, 1), then rows (2, 1, 1, k), x derivative first."""
    radius = max(1, round(2 * sigma))
    gaussian = get_gaussian_kernel1d(2 * radius + 1, sigma)[None]  # (1, 1, k - 2)
    sobel = torch.tensor([[[1.0, 2.0, 1.0]], [[1.0, 0.0, -1.0]]])  # mirrored: convolving kernels, not correlating
    smooth, slope = F.conv1d(gaussian, sobel, padding=2)[0, :, None]
    return torch.stack([smooth, slope])[..., None], torch.stack([slope, smooth])[:, :, None]


def direction_kernels() -> tuple[Tensor, Tensor]:
    """Return the unit vectors (4, 2, 1, 1) of the directions, x first, and what picks the neighbours (8, 1, 3, 3).

    The neighbours are those ahead in every direction, then those behind.
    """
    compass = torch.tensor([(x, y) for y, x in DIRECTIONS], dtype=torch.float32)
    neighbours = torch.zeros(2 * len(DIRECTIONS), 1, 3, 3)
    for index, (y, x) in enumerate(DIRECTIONS):
        neighbours[index, 0, 1 + y, 1 + x] = 1
        neighbours[len(DIRECTIONS) + index, 0, 1 - y, 1 - x] = 1
    return unit(compass)[..., None, None], neighbours

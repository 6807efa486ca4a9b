"""How far the texture that a memory reads out is from the texture of the image itself."""

from torch import Tensor

from anomalib_stc.parts.rounding import EPSILON, root, unit


def distance(texture: Tensor, features: Tensor) -> Tensor:
    """Return the Euclidean distance (B, 1, h, w) of read-out and features (B, D, h, w)."""
    return root((texture - features).square().sum(1, keepdim=True))


def angle(texture: Tensor, features: Tensor) -> Tensor:
    """Return 1 - cosine (B, 1, h, w) of read-out and features (B, D, h, w)."""
    return 1 - (unit(texture) * unit(features)).sum(1, keepdim=True)


def value_loss(texture: Tensor, features: Tensor) -> Tensor:
    """Return the squared distance of read-out and features (B, D, h, w), relative to the features' own length."""
    return (texture - features).square().mean() / features.square().mean().clamp(min=EPSILON)

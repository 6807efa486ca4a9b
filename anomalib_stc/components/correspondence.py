"""How far the texture that a memory reads out is from the texture of the image itself."""

from torch import Tensor
from torch.nn import functional as F


def distance(texture: Tensor, features: Tensor) -> Tensor:
    """Return the Euclidean distance (B, 1, h, w) of read-out and features (B, D, h, w)."""
    return ((texture - features).square().sum(1, keepdim=True) + 1e-8).sqrt()


def angle(texture: Tensor, features: Tensor) -> Tensor:
    """Return 1 - cosine (B, 1, h, w) of read-out and features (B, D, h, w)."""
    return 1 - F.cosine_similarity(texture, features, dim=1)[:, None]


def value_loss(texture: Tensor, features: Tensor) -> Tensor:
    """Return the squared distance of read-out and features (B, D, h, w), relative to the features' own length."""
    return (texture - features).square().mean() / features.square().mean()

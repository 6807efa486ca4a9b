"""What normal features there are, and how well a guess of them fits: a mixture about the means of their clusters."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomalib_stc.parts.checks import check_positive, check_whole
from anomalib_stc.parts.clusters import cluster_means, cosine_kmeans, reseed_empty, sample_points
from anomalib_stc.parts.rounding import unit


class Codebook(nn.Module):
    """Says how unlikely features are under a guess of their cluster.

    Args:
        items: Number of clusters.
        channels: Of the features.
        sharpness: Concentration of the clusters; the higher, the more the nearest cluster decides alone; 10 and
            20 were worse on brain MR, level on a texture.

    Raises:
        ValueError: If the items are too few or the sharpness is not positive.
    """

    def __init__(self, items: int, channels: int, sharpness: float = 40.0) -> None:
        super().__init__()
        check_whole("Codebook's items", items, 2)
        check_positive("Codebook's sharpness", sharpness, 40.0)
        self.sharpness = sharpness
        self.items: Tensor
        self.frequency: Tensor
        self.register_buffer("items", unit(torch.randn(items, channels)))
        self.register_buffer("frequency", torch.full((items,), 1 / items))

    @torch.no_grad()
    def fit(self, features: Sequence[Tensor], seed: int) -> None:
        """Take the clusters of normal features, batches (B, channels, h, w), and how often each occurs.

        Args:
            features: Features in batches.
            seed: Seed of positions and clusters.
        """
        count = len(self.items)
        points = sample_points(features, seed, count)
        label = reseed_empty(cosine_kmeans(points, count, seed)[0], count, seed)
        self.items.copy_(unit(cluster_means(points, label, count)))
        often = label.bincount(minlength=count) + 1
        self.frequency.copy_(often / often.sum())

    def unlikely(self, features: Tensor) -> Tensor:
        """Return how unlikely features (B, channels, h, w) are (B, 1, h, w) where no more is known, see `forward`."""
        return self(self.frequency.log()[None, :, None, None], features)

    def forward(self, logits: Tensor, features: Tensor) -> Tensor:
        """Return how unlikely features are (B, 1, h, w): about the angle (1 - cosine) to a cluster that is guessed.

        It is the negative logarithm of a mixture with the guessed weights, over the sharpness: 0 for features at a
        cluster that is guessed with certainty.

        Args:
            logits: Guess of the cluster (B, items, h, w), or one for all (1, items, 1, 1).
            features: Features (B, channels, h, w).
        """
        angle = 1 - F.conv2d(unit(features), self.items[:, :, None, None])
        mixture = (logits.log_softmax(1) - self.sharpness * angle).logsumexp(1, keepdim=True)
        return -mixture / self.sharpness

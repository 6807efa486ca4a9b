"""Clusters by direction: groups that are easy to tell apart are found, means are means."""

import pytest
import torch
from torch.nn import functional as F

from anomalib_stc.parts.clusters import cluster_means, cosine_kmeans, reseed_empty


def groups(count: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Points of two directions and random lengths, and their groups."""
    generator = torch.Generator().manual_seed(0)
    group = torch.arange(2).repeat(count)
    points = torch.eye(5)[group] + 0.05 * torch.randn(2 * count, 5, generator=generator)
    return points * torch.logspace(-2, 2, 2 * count)[:, None], group


def distinct_seed() -> int:
    """A seed whose first centres lie in both groups."""
    points, _ = groups()
    return next(s for s in range(20) if (cosine_kmeans(points, 2, 0, s)[1] @ torch.eye(5)[:, :2]).argmax(1).sum() == 1)


def test_directions_are_found_whatever_the_lengths() -> None:
    points, group = groups()
    label, centres = cosine_kmeans(points, 2, seed=distinct_seed())
    assert torch.equal(label == label[0], group == group[0])
    expected = cluster_means(F.normalize(points, dim=1), label, 2)
    torch.testing.assert_close(centres, expected)


def test_labels_are_the_nearest_centres() -> None:
    points = torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
    label, centres = cosine_kmeans(points, 7, iterations=100)
    assert torch.equal(label, torch.cdist(F.normalize(points, dim=1), centres).argmin(1))
    assert label.shape == (200,)
    assert centres.shape == (7, 6)


def test_more_rounds_lower_the_distance() -> None:
    points = F.normalize(torch.randn(300, 6, generator=torch.Generator().manual_seed(0)), dim=1)

    def spread(iterations: int) -> float:
        label, centres = cosine_kmeans(points, 8, iterations)
        return float((points - centres[label]).square().sum())

    assert spread(30) < spread(3) < spread(0)


def test_same_seed_same_clusters_and_the_random_state_stays() -> None:
    points, _ = groups()
    state = torch.get_rng_state()
    first, second = (cosine_kmeans(points, 4, seed=3) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


@pytest.mark.parametrize("points", [torch.ones(20, 3), torch.zeros(20, 3)])
def test_equal_points_give_finite_centres(points: torch.Tensor) -> None:
    _, centres = cosine_kmeans(points, 4)
    assert centres.isfinite().all()


def test_too_few_points_are_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"^k-means got 3 points for 4 clusters: .* or ask for fewer clusters\.$"):
        cosine_kmeans(torch.rand(3, 2), 4)


def test_means_of_labels() -> None:
    points = torch.tensor([[1.0, 2.0], [3.0, 4.0], [10.0, 20.0]])
    means = cluster_means(points, torch.tensor([2, 2, 0]), 4)
    assert means.tolist() == [[10, 20], [0, 0], [2, 3], [0, 0]]


def test_an_empty_cluster_gets_a_point() -> None:
    label = torch.zeros(50, dtype=torch.long)
    filled = reseed_empty(label, 4)
    assert torch.bincount(filled, minlength=4).tolist() == [47, 1, 1, 1]
    assert torch.equal(label, torch.zeros(50, dtype=torch.long))

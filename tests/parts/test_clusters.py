"""Clusters by direction: groups that are easy to tell apart are found, means are means."""

import pytest
import torch
from torch.nn import functional as F

from anomalib_stc.parts import clusters
from anomalib_stc.parts.clusters import cluster_means, cosine_kmeans, reseed_empty, sample_points


def groups(count: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Points of two directions and random lengths, and their groups."""
    generator = torch.Generator().manual_seed(0)
    group = torch.arange(2).repeat(count)
    points = torch.eye(5)[group] + 0.05 * torch.randn(2 * count, 5, generator=generator)
    return points * torch.logspace(-2, 2, 2 * count)[:, None], group


def distinct_seed() -> int:
    """A seed whose first centres lie in both groups."""
    points, _ = groups()
    return next(s for s in range(20) if (cosine_kmeans(points, 2, s, 0)[1] @ torch.eye(5)[:, :2]).argmax(1).sum() == 1)


def test_directions_are_found_whatever_the_lengths() -> None:
    points, group = groups()
    label, centres = cosine_kmeans(points, 2, seed=distinct_seed())
    assert torch.equal(label == label[0], group == group[0])
    expected = cluster_means(F.normalize(points, dim=1), label, 2)
    torch.testing.assert_close(centres, expected)


def test_labels_are_the_nearest_centres() -> None:
    points = torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
    label, centres = cosine_kmeans(points, 7, 0, iterations=100)
    assert torch.equal(label, torch.cdist(F.normalize(points, dim=1), centres).argmin(1))
    assert label.shape == (200,)
    assert centres.shape == (7, 6)


def test_more_rounds_lower_the_distance() -> None:
    points = F.normalize(torch.randn(300, 6, generator=torch.Generator().manual_seed(0)), dim=1)

    def spread(iterations: int) -> float:
        label, centres = cosine_kmeans(points, 8, 0, iterations)
        return float((points - centres[label]).square().sum())

    assert spread(30) < spread(3) < spread(0)


def test_same_seed_same_clusters_and_the_random_state_stays() -> None:
    points, _ = groups()
    state = torch.get_rng_state()
    first, second, other = (cosine_kmeans(points, 4, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[1], other[1])


@pytest.mark.parametrize("points", [torch.ones(20, 3), torch.zeros(20, 3), torch.ones(1, 3)])
def test_equal_points_give_finite_centres(points: torch.Tensor) -> None:
    _, centres = cosine_kmeans(points, 4, 0)
    torch.testing.assert_close(centres, F.normalize(points[:1], dim=1).expand(4, -1))


def test_fewer_points_than_clusters_are_all_centres() -> None:
    """With a seed that draws each of two points; the rest repeat them."""
    points = torch.eye(2)
    label, centres = next(found for seed in range(9) if (found := cosine_kmeans(points, 5, seed))[1].std(0).all())
    assert label[0] != label[1]
    assert {tuple(centre) for centre in centres.tolist()} == {(1, 0), (0, 1)}


def test_means_of_labels() -> None:
    points = torch.tensor([[1.0, 2.0], [3.0, 4.0], [10.0, 20.0]])
    means = cluster_means(points, torch.tensor([2, 2, 0]), 4)
    assert means.tolist() == [[10, 20], [0, 0], [2, 3], [0, 0]]


def test_an_empty_cluster_gets_a_point() -> None:
    label = torch.zeros(50, dtype=torch.long)
    filled = reseed_empty(label, 4, 0)
    assert torch.bincount(filled, minlength=4).tolist() == [47, 1, 1, 1]
    assert torch.equal(label, torch.zeros(50, dtype=torch.long))
    assert not torch.equal(filled, reseed_empty(label, 4, 1))


@pytest.mark.parametrize("seed", range(5))
def test_no_cluster_loses_its_only_point(seed: int) -> None:
    filled = reseed_empty(torch.tensor([0, 0, 0, 4, 5, 0]), 6, seed)
    assert sorted(filled.tolist()) == [0, 1, 2, 3, 4, 5]


def maps(count: int = 3, channels: int = 2) -> torch.Tensor:
    """Maps (count, channels, 4, 5) whose every position tells its number in every channel."""
    return torch.arange(count * 20.0).view(count, 1, 4, 5).expand(-1, channels, -1, -1)


def test_sampled_positions_are_the_same_of_every_map() -> None:
    first = sample_points([maps()[:2], maps()[2:]], 7)
    second = sample_points(maps(channels=3).split(1), 7)
    assert torch.equal(first[:, 0], second[:, 0])
    assert sorted(first[:, 0].tolist()) == list(range(60))
    assert not torch.equal(first, sample_points([maps()], 8))


def test_a_sample_is_bounded_unless_more_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "POINTS", 10)
    assert len(sample_points([maps()], 0)) == 10
    assert len(sample_points([maps()], 0, least=40)) == 40


def test_positions_are_repeated_where_there_are_too_few() -> None:
    points = sample_points([maps(1)], 0, least=50)
    assert len(points) >= 50
    assert torch.equal(points[:20], points[20:40])
    assert points[:20, 0].unique().numel() == 20


def test_positions_of_half_precision_are_clustered_in_single() -> None:
    assert sample_points([maps().half()], 0).dtype == torch.float32
    assert sample_points([maps().double()], 0).dtype == torch.float64

"""The memory bank says how far the nearest normal vector is, by closed forms."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from anomalib_stc.parts import nearest as nearest_module
from anomalib_stc.parts.bank import (
    DEEP,
    DEPTHS,
    FINE,
    FOLDS,
    IMAGES,
    KIND,
    KINDS,
    PIXEL,
    TERMS,
    TEXTURE,
    MemoryBank,
    cells,
)
from anomalib_stc.parts.clusters import shuffled
from anomalib_stc.parts.codebook import Codebook
from anomalib_stc.parts.contrast import CONTRASTS, NEAR, contrast
from anomalib_stc.parts.features import COLOUR, TextureFeatures, texture_features
from anomalib_stc.parts.nearest import Nearest, spread
from tests.images import made_images
from tests.parts.exported import assert_exports_agree

SIDE = 64
FEATURES = texture_features("none", COLOUR)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def images(count: int, seed: int = 0) -> Tensor:
    return noise(count, 3, SIDE, SIDE, seed=seed)


def whole(maps: Tensor) -> Nearest:
    """All vectors of maps (n, C, h, w), none twice."""
    places = maps.shape[2] * maps.shape[3]
    nearest = Nearest(maps.shape[1], len(maps) * places)
    nearest.items.copy_(vectors_of(maps))
    nearest.source.copy_(torch.arange(len(maps)).repeat_interleave(places))
    return nearest


def by_cdist(maps: Tensor, items: Tensor) -> Tensor:
    """Squared distances (n, 1, h, w) to the nearest of items (P, C), one pair at a time."""
    exact = "donot_use_mm_for_euclid_dist"
    found = torch.cdist(maps.flatten(2).transpose(1, 2), items, compute_mode=exact).amin(2).square()
    return found.reshape(len(maps), 1, *maps.shape[2:])


def vectors_of(maps: Tensor) -> Tensor:
    return maps.flatten(2).transpose(1, 2).flatten(0, 1)


def filled(normals: Tensor, items: int = 24, seed: int = 0) -> MemoryBank:
    made = MemoryBank(FEATURES, items)
    made.fit([FEATURES.see(normals)], seed)
    return made


def test_an_item_itself_is_at_no_distance() -> None:
    maps = noise(2, 6, 3, 4)
    found = whole(maps)(maps)
    assert found.min() >= 0
    torch.testing.assert_close(found, torch.zeros(2, 1, 3, 4), atol=1e-5, rtol=0)


def test_it_is_the_squared_distance_to_the_nearest() -> None:
    nearest = whole(noise(3, 6, 3, 4))
    asked = noise(2, 6, 5, 4, seed=1)
    torch.testing.assert_close(nearest(asked), by_cdist(asked, nearest.items), atol=1e-5, rtol=1e-5)


def test_items_of_an_image_that_is_left_out_are_not_used() -> None:
    maps = noise(3, 6, 3, 4)
    nearest = whole(maps)
    for number in range(3):
        others = vectors_of(torch.cat([maps[:number], maps[number + 1 :]]))
        found = nearest.without(maps[number : number + 1], number)
        torch.testing.assert_close(found, by_cdist(maps[number : number + 1], others), atol=1e-5, rtol=1e-5)


def test_an_image_that_is_there_twice_is_known() -> None:
    maps = noise(1, 6, 3, 4).repeat(2, 1, 1, 1)
    torch.testing.assert_close(whole(maps).without(maps[:1], 0), torch.zeros(1, 1, 3, 4), atol=1e-5, rtol=0)
    some = Nearest(6, 5)
    some.fit(maps, seed=0)
    assert some.without(maps[:1], 0).isfinite().all()


def test_one_image_alone_is_compared_with_itself() -> None:
    maps = noise(1, 6, 3, 4)
    nearest = Nearest(6, 4)
    nearest.fit(maps, seed=0)
    assert torch.equal(nearest.without(maps, 0), nearest(maps))


def test_half_are_as_they_come_and_half_are_the_farthest() -> None:
    points = torch.tensor([[0.0], [1.0], [2.0], [3.0], [10.0]])
    assert spread(points, 1).tolist() == [0]
    assert spread(points, 3).tolist() == [0, 1, 4]
    assert spread(points, 4).tolist() == [0, 1, 4, 3]
    many = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)).repeat(2, 1)
    assert len(many[spread(many, 190)].unique(dim=0)) == 190, "more than are looked at in one go, each there twice"


def test_the_farthest_points_are_those_of_one_at_a_time() -> None:
    """Though they are looked at by the dozen: of more than are taken in one go, and of fewer than that."""
    generator = torch.Generator().manual_seed(0)
    for size, count in ((2000, 300), (50, 40)):
        points = torch.randn(size, 8, generator=generator, dtype=torch.float64)
        expected = list(range(count // 2))
        while len(expected) < count:
            distance = torch.cdist(points, points[expected]).amin(1)
            expected.append(int(distance.argmax()))
        assert spread(points, count).tolist() == expected


def test_every_position_is_kept_where_there_are_fewer_than_items() -> None:
    maps = noise(1, 6, 3, 4)
    nearest = Nearest(6, 20)
    nearest.fit(maps, seed=0)
    assert {tuple(item) for item in nearest.items.tolist()} == {tuple(one) for one in vectors_of(maps).tolist()}


def test_positions_are_drawn_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """The farthest of all is no item if it was not drawn."""
    maps = noise(1, 2, 20, 20)
    maps[..., 7, 7] = 100
    kept = []
    for candidates in (400, 10):
        monkeypatch.setattr(nearest_module, "CANDIDATES", candidates)
        nearest = Nearest(2, 10)
        nearest.fit(maps, seed=0)
        kept.append(nearest.items.max() == 100)
    assert kept == [True, False]


def test_the_seed_decides_and_the_random_state_stays() -> None:
    maps = noise(3, 6, 8, 8)
    state = torch.get_rng_state()
    first, same, other = (Nearest(6, 20) for _ in range(3))
    for nearest, seed in ((first, 1), (same, 1), (other, 2)):
        nearest.fit(maps, seed)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first.items, same.items)
    assert torch.equal(first.source, same.source)
    assert not torch.equal(first.items, other.items)


def test_items_know_their_image() -> None:
    maps = torch.arange(5.0).reshape(5, 1, 1, 1).expand(5, 2, 3, 4)
    nearest = Nearest(2, 30)
    nearest.fit(maps, seed=0)
    assert torch.equal(nearest.source, nearest.items[:, 0].int())


def test_no_items_are_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"^Bank's items came as 0, expected a whole number, 1 or more\.$"):
        Nearest(3, 0)


def test_a_cell_is_its_mean_and_its_ends() -> None:
    image = images(2)
    cell = image[1, :, 8:16, 24:32].flatten(1)
    expected = torch.cat([cell.mean(1), cell.amax(1), cell.amin(1)])
    torch.testing.assert_close(cells(image)[1, :, 1, 3], expected)


class Levels(TextureFeatures):
    """Two channels finer than the grid, two of the grid, three coarser ones, and one that is no texture."""

    channels, finest, shallow, deep = 8, 2, 4, 7

    def levels(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return noise(len(image), self.channels, SIDE // 8, SIDE // 8), noise(len(image), 2, SIDE // 4, SIDE // 4)


def test_depths_see_pixels_levels_and_a_coarser_grid() -> None:
    looked = Levels().see(images(3))
    features = looked.features
    made = MemoryBank(Levels(), 24)
    made.fit([looked], seed=0)
    seen = {name: made.vectors(name, looked) for name in DEPTHS}
    standard = seen[PIXEL]
    torch.testing.assert_close(standard.mean((0, 2, 3)), torch.zeros(9), atol=1e-4, rtol=0)
    torch.testing.assert_close(standard.std((0, 2, 3), correction=0), torch.ones(9), atol=1e-4, rtol=0)
    torch.testing.assert_close(seen[FINE][:, :, 3, 4], features[:, :4, 2:5, 3:6].mean((2, 3)))
    torch.testing.assert_close(seen[FINE][:, :, 0, 0], features[:, :4, :2, :2].mean((2, 3)))
    assert torch.equal(seen[TEXTURE], features[:, 2:7])
    torch.testing.assert_close(seen[DEEP][:, :, 1, 2], features[:, :7, 2:4, 4:6].mean((2, 3)))
    shapes = {name: tuple(distance.shape) for name, distance in made(looked).items()}
    on_grid = dict.fromkeys((*DEPTHS, KIND), (3, 1, 8, 8))
    assert shapes == {**on_grid, DEEP: (3, 1, 4, 4), **dict.fromkeys(CONTRASTS, (3, 1, 16, 16))}


def test_kinds_are_those_of_the_features_of_texture() -> None:
    """Of a channel that is none of texture nothing is known."""
    looked = Levels().see(images(3))
    made, expected = MemoryBank(Levels(), 24), Codebook(KINDS, 7)
    made.fit([looked], seed=5)
    expected.fit([looked.features[:, :7]], 5)
    found = made(looked, [KIND])[KIND]
    torch.testing.assert_close(found, expected.unlikely(looked.features[:, :7]))
    assert torch.equal(made.without(looked, range(3), [KIND])[KIND], found), "one image is no matter to kinds"


def test_contrasts_need_no_other_image() -> None:
    looked = Levels().see(images(3))
    made = MemoryBank(Levels(), 24)
    for name in CONTRASTS:
        assert torch.equal(made(looked, [name])[name], contrast(name, looked))
        assert torch.equal(made.without(looked, range(3), [name])[name], contrast(name, looked))


def test_only_depths_that_are_asked_for_are_computed() -> None:
    image = images(2)
    made = filled(image)
    assert set(made(FEATURES.see(image), [FINE])) == {FINE}
    assert set(made.without(FEATURES.see(image), range(len(image)), [DEEP])) == {DEEP}
    assert made(FEATURES.see(image), []) == {}


def test_batches_are_no_matter() -> None:
    image = images(4)
    together, apart = filled(image), MemoryBank(FEATURES, 24)
    apart.fit([FEATURES.see(batch) for batch in image.split([1, 3])], seed=0)
    torch.testing.assert_close(dict(apart.state_dict()), dict(together.state_dict()), equal_nan=True)
    every = together.without(FEATURES.see(image), range(len(image)), TERMS)
    for start, size in ((0, 2), (2, 1), (3, 1)):
        some = slice(start, start + size)
        torch.testing.assert_close(
            together.without(FEATURES.see(image[some]), range(4)[some], TERMS),
            {name: distance[some] for name, distance in every.items()},
        )
    known = together(FEATURES.see(image))
    assert all((every[name] > known[name]).any() for name in DEPTHS), "something was left out"


@pytest.mark.parametrize("count", [2, 3, FOLDS, FOLDS + 2])
def test_images_are_compared_with_a_bank_of_other_ones(count: int) -> None:
    """As a new image with the bank that it has; every image is out of one bank."""
    image = images(count)
    made = filled(image, seed=3)
    before = copy.deepcopy(made.state_dict())
    found = made.crossed([FEATURES.see(batch) for batch in image.split(2)], [FINE, DEEP, NEAR])
    assert set(found) == {FINE, DEEP, NEAR}
    order = shuffled(count, 3).tolist()
    for fold in (order[start::FOLDS] for start in range(min(FOLDS, count))):
        rest = [number for number in range(count) if number not in fold]
        expected = filled(image[rest], seed=3)(FEATURES.see(image[fold]))
        for name in found:
            torch.testing.assert_close(found[name][fold], expected[name])
    torch.testing.assert_close(dict(made.state_dict()), dict(before), equal_nan=True)


def test_a_single_image_has_no_other_to_be_compared_with() -> None:
    image = images(1)
    made = filled(image)
    assert torch.equal(made.crossed([FEATURES.see(image)], [DEEP])[DEEP], made(FEATURES.see(image))[DEEP])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("kind", ["black", "constant"])
def test_images_with_little_in_them_give_finite_distances(kind: str, count: int, dtype: torch.dtype) -> None:
    normal = made_images(kind, (SIDE, SIDE)).repeat(count, 1, 1, 1)
    made = filled(normal)
    alone = made.without(FEATURES.see(normal), range(len(normal)), TERMS)
    assert {name: value.max().item() for name, value in alone.items()} == pytest.approx(
        dict.fromkeys(TERMS, 0), abs=1e-3
    )
    asked = torch.cat([images(1), made_images("white", (SIDE, SIDE)), normal]).to(dtype)
    for name, distance in made.to(dtype)(FEATURES.see(asked)).items():
        assert distance.isfinite().all(), name
        assert distance[:2].max() > 10 * distance[2:].max(), name


def test_scores_are_kept_of_as_many_images_as_there_are() -> None:
    made = MemoryBank(FEATURES, 4)
    assert made.known_scores.shape == (0,)
    for count in (5, 3, IMAGES + 2):
        given = noise(count)
        made.keep(given)
        assert torch.equal(made.known_scores, given[:IMAGES])


def test_all_of_it_travels_with_the_state() -> None:
    image = images(2)
    made, fresh = filled(image), MemoryBank(FEATURES, 24)
    made.keep(noise(2))
    fresh.load_state_dict(made.state_dict())
    asked = images(1, seed=3)
    for name, distance in made(FEATURES.see(asked)).items():
        assert torch.equal(fresh(FEATURES.see(asked))[name], distance)
    of_each = (one.without(FEATURES.see(image), range(2), [FINE])[FINE] for one in (fresh, made))
    assert torch.equal(*of_each)
    assert torch.equal(fresh.known_scores, noise(2))


class OfImage(nn.Module):
    """All terms of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.bank = filled(images(3))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.bank(FEATURES.see(image)).values())


def test_exports_agree(tmp_path: Path) -> None:
    assert_exports_agree(OfImage(), images(2), tmp_path)

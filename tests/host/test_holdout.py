"""The held-out images are an even, repeatable share, seen as at test time."""

from pathlib import Path

import pytest
import torch
from anomalib.data import AnomalibDataset
from torchvision.transforms import v2

from anomalib_stc.host.holdout import plain_loader, split_holdout
from tests.host.tiny_model import folder_data, write_images


def dataset(root: Path, count: int, **arguments) -> AnomalibDataset:
    """Training images named 0.png and on."""
    write_images(root / "good", [(16, 16)] * count)
    data = folder_data(root, normal_dir="good", test_split_mode="none", val_split_mode="none", **arguments)
    data.prepare_data()
    data.setup()
    return data.train_data


def paths(part: AnomalibDataset) -> list[str]:
    return part.samples.image_path.tolist()


@pytest.mark.parametrize(
    ("count", "fraction", "held"), [(2, 0.1, 1), (2, 0.5, 1), (3, 0.5, 1), (9, 0.1, 1), (20, 0.1, 2), (20, 0.4, 8)]
)
def test_share(tmp_path: Path, count: int, fraction: float, held: int) -> None:
    training, held_out = split_holdout(dataset(tmp_path, count), fraction)
    assert (len(training), len(held_out)) == (count - held, held)


def test_every_image_is_in_one_part_and_the_held_out_are_spread(tmp_path: Path) -> None:
    whole = dataset(tmp_path, 20)
    training, held_out = split_holdout(whole, 0.2)
    assert sorted(paths(training) + paths(held_out)) == sorted(paths(whole))
    places = [paths(whole).index(path) for path in paths(held_out)]
    assert places == [0, 5, 10, 15]


def test_the_split_is_the_same_at_every_call(tmp_path: Path) -> None:
    whole = dataset(tmp_path, 20)
    assert paths(split_holdout(whole, 0.1)[1]) == paths(split_holdout(whole, 0.1)[1])
    assert len(whole) == 20


@pytest.mark.parametrize("fraction", [0.0, -0.1, 0.6])
def test_a_wrong_share_is_one_sentence(tmp_path: Path, fraction: float) -> None:
    with pytest.raises(ValueError, match=rf"^holdout is {fraction}, expected above 0 up to 0\.5 .*: change it\.$"):
        split_holdout(dataset(tmp_path, 4), fraction)


def test_one_image_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^The training set has 1 image\(s\), expected 2 or more .*\.$"):
        split_holdout(dataset(tmp_path, 1), 0.1)


def test_the_loader_keeps_the_order_and_drops_augmentations(tmp_path: Path) -> None:
    whole = dataset(tmp_path, 5, train_augmentations=v2.RandomInvert(p=1.0))
    plain = torch.cat([batch.image for batch in plain_loader(whole, None, 2)])
    torch.testing.assert_close(plain, 1 - torch.stack([item.image for item in whole]))
    assert isinstance(whole.augmentations, v2.RandomInvert)


def test_the_loader_applies_the_models_transform(tmp_path: Path) -> None:
    batches = list(plain_loader(dataset(tmp_path, 5), v2.Resize((8, 8)), 2))
    assert [tuple(batch.image.shape) for batch in batches] == [(2, 3, 8, 8), (2, 3, 8, 8), (1, 3, 8, 8)]

"""The held-out images are a repeatable share, spread over the folder, seen as at test time."""

import shutil
from pathlib import Path

import pytest
import torch
from anomalib.data import AnomalibDataset
from PIL import Image
from torch.utils.data import ConcatDataset, Subset, TensorDataset
from torchvision.transforms import v2

from anomalib_stc.host.holdout import marks_of, once, paths_of, plain_loader, split_holdout
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


def test_other_images_of_the_same_names_have_other_marks(tmp_path: Path) -> None:
    """Of the same size too, as bitmaps are. Not where the folder was moved; images without a file are counted."""
    first, moved, other = (tmp_path / name for name in ("first", "moved", "other"))
    whole = dataset(first, 3)
    shutil.copytree(first, moved)
    shutil.copytree(first, other)
    for path in other.rglob("*.png"):
        path.write_bytes(bytes(reversed(path.read_bytes())))
    there = [folder_data(root, normal_dir="good", val_split_mode="none") for root in (moved, other)]
    for data in there:
        data.setup()
    assert marks_of(there[0].train_data) == marks_of(whole)
    assert not set(marks_of(there[1].train_data)) & set(marks_of(whole))
    assert len(set(marks_of(TensorDataset(torch.zeros(3))))) == 3


@pytest.mark.parametrize(
    ("count", "fraction", "held"), [(2, 0.1, 1), (2, 0.5, 1), (3, 0.5, 1), (9, 0.1, 1), (20, 0.1, 2), (20, 0.4, 8)]
)
def test_share(tmp_path: Path, count: int, fraction: float, held: int) -> None:
    training, held_out = split_holdout(dataset(tmp_path, count), fraction)
    assert (len(training), len(held_out)) == (count - held, held)


def test_every_image_is_in_one_part(tmp_path: Path) -> None:
    whole = dataset(tmp_path, 20)
    training, held_out = split_holdout(whole, 0.2)
    assert sorted(paths(training) + paths(held_out)) == sorted(paths(whole))
    assert len(whole) == 20


def named(root: Path, names: list[str]) -> AnomalibDataset:
    """Return training images of these names."""
    (root / "good").mkdir(parents=True)
    for name in names:
        Image.new("RGB", (4, 4)).save(root / "good" / name)
    data = folder_data(root, normal_dir="good", test_split_mode="none", val_split_mode="none")
    data.setup()
    return data.train_data


CAMERAS = [f"{number:04d}_camera{number % 10}.png" for number in range(100)]
PRODUCTS = [f"{product}_{number:03d}.png" for product in "ab" for number in range(60)]


@pytest.mark.parametrize(("names", "kind", "least"), [(CAMERAS, 11, 5), (PRODUCTS, 0, 2)])
def test_the_held_out_are_of_all_kinds_whatever_the_order_of_names(
    tmp_path: Path, names: list[str], kind: int, least: int
) -> None:
    training, held_out = (
        [Path(path).name[kind:] for path in paths(part)] for part in split_holdout(named(tmp_path, names), 0.1)
    )
    kinds = {name[: 1 if kind == 0 else None] for name in held_out}
    assert len(kinds) >= least
    assert kinds <= {name[: 1 if kind == 0 else None] for name in training}


def test_the_split_does_not_depend_on_place_order_or_fellows(tmp_path: Path) -> None:
    """The same files are held out in a moved folder and in a shuffled data set, and stay so when some are added."""
    here = split_holdout(named(tmp_path / "here", CAMERAS), 0.1)[1]
    there = named(tmp_path / "there", CAMERAS)
    shuffled = split_holdout(Subset(there, list(range(100))[::-1]), 0.1)[1]
    expected = {Path(path).name for path in paths(here)}
    assert {Path(path).name for path in paths_of(shuffled)} == expected
    more = named(tmp_path / "more", [*CAMERAS, *(f"new{number}.png" for number in range(10))])
    assert len(expected & {Path(path).name for path in paths(split_holdout(more, 0.1)[1])}) >= 8


def test_subsets_and_unions_are_split(tmp_path: Path) -> None:
    whole = dataset(tmp_path, 20)
    fold = ConcatDataset([Subset(whole, range(8)), Subset(whole, range(4, 12))])
    training, held_out = split_holdout(fold, 0.25)
    assert not set(paths_of(training)) & set(paths_of(held_out)), "an image that is there twice is in one part"
    assert set(paths_of(training)) | set(paths_of(held_out)) == set(paths_of(fold))
    assert held_out[0].image.shape == (3, 16, 16)


def test_images_that_are_there_twice_are_taken_once(tmp_path: Path) -> None:
    whole = dataset(tmp_path, 4)
    assert once(whole) is whole
    assert paths_of(once(ConcatDataset([whole, Subset(whole, [2, 1]), whole]))) == paths(whole)
    untold = TensorDataset(torch.zeros(3))
    assert once(untold) is untold


def test_images_without_paths_are_split_by_their_number() -> None:
    training, held_out = split_holdout(TensorDataset(torch.arange(20)), 0.1)
    assert (len(training), len(held_out)) == (18, 2)


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


def test_the_loader_draws_nothing_of_the_run(tmp_path: Path) -> None:
    whole = dataset(tmp_path, 5)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    list(plain_loader(whole, None, 2))
    assert torch.equal(torch.rand(1), expected)


def test_the_loader_reaches_into_subsets(tmp_path: Path) -> None:
    fold = ConcatDataset([Subset(dataset(tmp_path, 5, train_augmentations=v2.RandomInvert(p=1.0)), [1, 3])])
    inverted = next(iter(plain_loader(fold, None, 2))).image
    torch.testing.assert_close(inverted, 1 - torch.stack([item.image for item in fold]))


def test_the_loader_applies_the_models_transform(tmp_path: Path) -> None:
    batches = list(plain_loader(dataset(tmp_path, 5), v2.Resize((8, 8)), 2))
    assert [tuple(batch.image.shape) for batch in batches] == [(2, 3, 8, 8), (2, 3, 8, 8), (1, 3, 8, 8)]

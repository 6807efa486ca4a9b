"""A part of the normal training images kept out of training, and how images look at test time.

A data set may be anomalib's, or a `Subset` or `ConcatDataset` of such (k-fold, several products): nothing here builds
one anew, so that what a data module does with its images is done with these as well.
"""

import copy
import hashlib
from collections.abc import Callable, Iterable, Sequence
from os.path import commonpath
from pathlib import Path, PurePath
from types import SimpleNamespace
from typing import Any, Final

import torch
from anomalib.data import AnomalibDataModule, AnomalibDataset
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset

from anomalib_stc.parts.clusters import shuffled

MIDDLE: Final = 4096  # bytes of a file by which it is told from others of its name and size


def split_holdout(dataset: Any, fraction: float) -> tuple[Any, Any]:
    """Split a data set by a hash of the images' paths: spread over the folder, the same in every run.

    The share with the smallest hashes is held out. Paths count from the folder that all images share, so that a moved
    folder is split the same way. An image that a data set has twice is in one part only.

    Args:
        dataset: The training images.
        fraction: Share of held-out images, in (0, 0.5]; at least one is held out, at most half.

    Returns:
        Images to train on, and held-out images.

    Raises:
        ValueError: If there are fewer than two images, or the fraction is out of range.
    """
    check_share(fraction)
    names = names_of(dataset)
    different = set(names)
    if len(different) < 2:
        msg = (
            f"The training set has {len(different)} image(s), expected 2 or more normal images, one of them to be "
            "held out: add images or check the path."
        )
        raise ValueError(msg)
    size = max(1, min(round(len(different) * fraction), len(different) // 2))
    chosen = set(sorted(different, key=hashed)[:size])
    held = [index for index, name in enumerate(names) if name in chosen]
    rest = [index for index, name in enumerate(names) if name not in chosen]
    return part(dataset, rest), part(dataset, held)


def check_share(fraction: float) -> None:
    """Raise a `ValueError` unless this is a share of the training images that can be held out."""
    if not 0 < fraction <= 0.5:
        msg = f"holdout is {fraction}, expected above 0 up to 0.5 (a share of the training images): change it."
        raise ValueError(msg)


def hashed(name: str) -> bytes:
    """Return a hash of a name, by which names are in an order that has nothing to do with their own."""
    return hashlib.sha256(name.encode()).digest()


def part(dataset: Any, indices: Sequence[int]) -> Any:
    """Return some images of a data set, of its own kind where it can tell."""
    return dataset.subsample(list(indices)) if isinstance(dataset, AnomalibDataset) else Subset(dataset, indices)


def drawn(dataset: Any, count: int, seed: int) -> Any:
    """Return at most a number of images of a data set, drawn by a seed, in their order (anomalib would sort them)."""
    return part(dataset, sorted(shuffled(len(dataset), seed)[:count].tolist()))


def once(dataset: Any) -> Any:
    """Return a data set with each image once, the first of those of one path; as it is, where it tells no paths."""
    paths = paths_of(dataset)
    first = {path: index for index, path in reversed([*enumerate(paths)])}
    return dataset if len(first) == len(paths) or not all(paths) else part(dataset, sorted(first.values()))


def names_of(dataset: Any) -> list[str]:
    """Return the path of every image from the folder that they share, or its number where a data set has no paths."""
    paths = paths_of(dataset)
    if not all(paths):
        return [str(index) for index in range(len(paths))]
    try:
        shared = Path(commonpath([PurePath(path).parent for path in paths]))
    except ValueError:  # on several drives, or some of them relative: nothing is shared
        return [PurePath(path).as_posix() for path in paths]
    return [PurePath(path).relative_to(shared).as_posix() for path in paths]


def marks_of(dataset: Any) -> list[str]:
    """Return name, size and some content of every image: other images of the same names are other images."""
    pairs = zip(names_of(dataset), map(Path, paths_of(dataset)), strict=True)
    return [f"{name} {_content(path) if path.is_file() else ''}" for name, path in pairs]


def _content(path: Path) -> str:
    """Return size and a hash of the middle of a file: all of one camera's bitmaps are of one size, and begin alike."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(size // 2)
        return f"{size} {hashlib.sha256(file.read(MIDDLE)).hexdigest()}"


def paths_of(dataset: Any) -> list[str]:
    """Return the path of every image, empty where the data set does not tell."""
    if isinstance(dataset, Subset):
        known = paths_of(dataset.dataset)
        return [known[index] for index in dataset.indices]
    if isinstance(dataset, ConcatDataset):
        return [path for one in dataset.datasets for path in paths_of(one)]
    samples = getattr(dataset, "samples", None)
    if "image_path" in getattr(samples, "columns", ()):
        return [str(path) for path in samples.image_path]  # type: ignore[union-attr]
    return [str(path) for path in getattr(dataset, "image_filenames", None) or [""] * len(dataset)]


def leaves(dataset: Any) -> Iterable[Any]:
    """Yield the data sets that a data set is made of."""
    if isinstance(dataset, Subset):
        yield from leaves(dataset.dataset)
    elif isinstance(dataset, ConcatDataset):
        for one in dataset.datasets:
            yield from leaves(one)
    else:
        yield dataset


def augmented(dataset: Any, augmentations: Any) -> Any:
    """Return a view of a data set in which every image goes through other transforms; the data set stays as it is."""
    if isinstance(dataset, Subset):
        return Subset(augmented(dataset.dataset, augmentations), dataset.indices)
    if isinstance(dataset, ConcatDataset):
        return ConcatDataset([augmented(one, augmentations) for one in dataset.datasets])
    view = copy.copy(dataset)
    if hasattr(view, "augmentations"):
        view.augmentations = augmentations
    return view


def collate_of(dataset: Any) -> Callable[[list[Any]], Any] | None:
    """Return the function with which the first of a data set's parts makes batches, ``None`` for torch's own."""
    return getattr(next(iter(leaves(dataset)), None), "collate_fn", None)


def plain_loader(
    dataset: Any, transform: Any, batch_size: int, collate: Callable[[list[Any]], Any] | None = None
) -> DataLoader:
    """Return a loader of images in order, which draws no random number of the run.

    Args:
        dataset: Images; left as they are.
        transform: What every image goes through, or ``None``.
        batch_size: Images a batch.
        collate: Makes a batch of images; the data set's own if ``None``.
    """
    view: Dataset = augmented(dataset, transform)
    return DataLoader(
        view, batch_size=batch_size, collate_fn=collate or collate_of(dataset), generator=torch.Generator()
    )


def test_transform(datamodule: Any, training: Any, pre_processor: Any) -> Any:
    """Return what a data module's test images go through; where it has none, what it would do with them."""
    for name in ("test_data", "val_data"):
        if part := getattr(datamodule, name, None):
            return own_transform(part)
    if not isinstance(datamodule, AnomalibDataModule):
        return own_transform(training)
    empty = SimpleNamespace(augmentations=datamodule.test_augmentations)
    if transform := getattr(pre_processor, "transform", None):
        datamodule._update_subset_augmentations(empty, empty.augmentations, transform)  # type: ignore[arg-type]
    return empty.augmentations


def own_transform(dataset: Any) -> Any:
    """Return the transforms of the first data set that a data set is made of."""
    return getattr(next(iter(leaves(dataset)), None), "augmentations", None)

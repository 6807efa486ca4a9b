"""A part of the normal training images kept out of training, for calibration and thresholds."""

from anomalib.data import AnomalibDataset
from torch.utils.data import DataLoader


def split_holdout(dataset: AnomalibDataset, fraction: float) -> tuple[AnomalibDataset, AnomalibDataset]:
    """Split a dataset evenly over its sorted file names, the same way at every call.

    Args:
        dataset: The training images.
        fraction: Share of held-out images, in (0, 0.5]; at least one is held out, at most half.

    Returns:
        Images to train on, and held-out images.

    Raises:
        ValueError: If there are fewer than two images, or the fraction is out of range.
    """
    count = len(dataset)
    if not 0 < fraction <= 0.5:
        msg = f"holdout is {fraction}, expected above 0 up to 0.5 (a share of the training images): change it."
        raise ValueError(msg)
    if count < 2:
        msg = f"The training set has {count} image(s), expected 2 or more normal images: add images or check the path."
        raise ValueError(msg)
    size = max(1, min(round(count * fraction), count // 2))
    held = [index * count // size for index in range(size)]
    return dataset.subsample([index for index in range(count) if index not in held]), dataset.subsample(held)


def plain_loader(dataset: AnomalibDataset, transform: object, batch_size: int) -> DataLoader:
    """Return a loader of the images as they are at test time, in order: no augmentation but the model's own resize.

    Args:
        dataset: Images; left as it is.
        transform: The model's transform, or ``None``.
        batch_size: Images a batch.
    """
    plain = dataset.subsample(list(range(len(dataset))))
    plain.augmentations = transform
    return DataLoader(plain, batch_size=batch_size, collate_fn=plain.collate_fn)

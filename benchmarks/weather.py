"""What light, focus, position and noise of a later day cost: a trained model on altered test images."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import pandas as pd
import torch
from anomalib.data import ImageBatch
from anomalib.metrics import AUPRO, AUROC
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import functional

from anomalib_stc.host.holdout import collate_of, plain_loader
from benchmarks.decisions import share_above
from benchmarks.measures import FIELDS, measured, unit
from benchmarks.predictions import Predictions

NONE: Final = "none"  # the test images as they are
GAIN, GAMMA = 0.8, 1.1  # an exposure too short
BLUR = 1.5 / 256  # standard deviation, share of the longer side
SHIFT = 0.03  # of height and width
NOISE = 0.03  # standard deviation, of the range 0..1
MEASURES: Final = ("image_auroc", "aupro", "recall", "false_alarms")


def light(image: Tensor) -> Tensor:
    """Return a darker image (3, H, W) in 0..1."""
    return functional.adjust_gamma(image, gamma=GAMMA, gain=GAIN)


def focus(image: Tensor) -> Tensor:
    """Return a blurred image (3, H, W)."""
    sigma = BLUR * max(image.shape[-2:])
    return functional.gaussian_blur(image, [2 * round(3 * sigma) + 1] * 2, [sigma, sigma])


def shift(image: Tensor) -> Tensor:
    """Return an image (3, H, W) or mask (H, W) moved down and to the right, its border reflected."""
    for axis in (-2, -1):
        size = image.shape[axis]
        image = image.index_select(axis, (torch.arange(size) - round(SHIFT * size)).abs())
    return image


def noise(image: Tensor, seed: int) -> Tensor:
    """Return an image (3, H, W) in 0..1 with Gaussian noise of a seed."""
    drawn = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))
    return (image + NOISE * drawn).clamp(0, 1)


SEEDLESS: Final[dict[str, Callable[[Tensor], Tensor]]] = {"light": light, "focus": focus, "shift": shift}
KINDS: Final = (*SEEDLESS, "noise")


class Altered(Dataset):
    """Test images in one kind of weather; masks move with the images.

    Args:
        images: anomalib's data set, in 0..1 and of the model's size, so that a strength means the same on every set.
        kind: One of `KINDS`; an image's number is the seed of its noise, the same for every model.
    """

    def __init__(self, images: Any, kind: str) -> None:
        self.images = images
        self.kind = kind

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        """Return one image with its mask, altered."""
        item = self.images[index]
        image = item.image.as_subclass(Tensor)
        changes = {"image": noise(image, index) if self.kind == "noise" else SEEDLESS[self.kind](image)}
        if self.kind == "shift" and item.gt_mask is not None:
            changes["gt_mask"] = shift(item.gt_mask.as_subclass(Tensor))
        return item.update(**changes)


def altered_loader(images: Any, kind: str, batch_size: int) -> DataLoader:
    """Return a loader of test images in one kind of weather, in order."""
    return plain_loader(Altered(images, kind), None, batch_size, collate_of(images))


def weather(
    found: Predictions, images: Any, batch_size: int, predict: Callable[[DataLoader], Sequence[ImageBatch]]
) -> pd.DataFrame:
    """Return what a trained model is worth in every kind of weather, `NONE` first: ``kind`` and `MEASURES`.

    Args:
        found: What it says of the test images as they are, with its thresholds, which stay.
        images: The test images, as it was tested with them.
        batch_size: Images a batch.
        predict: Returns the model's batches, with scores and maps, of a loader.
    """
    rows = [measures(NONE, found)]
    for kind in KINDS:
        altered = Predictions.of(predict(altered_loader(images, kind, batch_size)))
        rows.append(measures(kind, altered._replace(thresholds=found.thresholds)))
    return pd.DataFrame(rows)


def measures(kind: str, found: Predictions) -> dict[str, Any]:
    """Return one row."""
    return {
        "kind": kind,
        "image_auroc": measured(AUROC(FIELDS), unit(found.scores), found.labels),
        "aupro": measured(AUPRO(fields=FIELDS, fpr_limit=0.3), unit(found.maps), found.masks),
        "recall": share_above(found.scores[found.labels], found.thresholds.image),
        "false_alarms": share_above(found.scores[~found.labels], found.thresholds.image),
    }

"""Pre-processing with the same pixels in training, test, prediction and export."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from anomalib.pre_processing import PreProcessor
from anomalib.pre_processing.utils.spec import spec_to_transform, transform_to_spec
from anomalib.pre_processing.utils.transform import convert_center_crop_transform
from torch import nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import Compose, Transform

from anomalib_stc.host.resize import Resize, ThreeChannels
from anomalib_stc.parts.sizes import IMAGE_SIZE, height_and_width

LOST = "lost"  # in a checkpoint: transforms that cannot be kept in one, in words
ANYWHERE = (v2.ToImage, v2.ToDtype, v2.RGB, ThreeChannels)  # what gives the same before a resize as after it


class ExactPreProcessor(PreProcessor):
    """anomalib's pre-processor with the same resize for every stage, export included.

    anomalib's own turns anti-aliasing off in what it exports, so that an exported model sees other pixels than the
    one that was tested (by up to half of the value range). Here ``export_transform`` does what ``transform`` does.

    Images come as (B, 3, H, W), or grey as (B, 1, H, W), floating point in 0..1, and leave as (B, 3, h, w) in 0..1,
    without normalisation by mean and deviation: a model that wants one does it inside.

    Args:
        image_size: Height and width the images are resized to, or one number for both.
        transform: A user's own transforms instead; an anti-aliased bilinear ``Resize`` among them becomes exact.

    Raises:
        ValueError: If a side is not positive, there is a ``Normalize`` among the transforms, or one that changes images
            before they are resized.
    """

    def __init__(self, image_size: int | Sequence[int] = IMAGE_SIZE, transform: Transform | None = None) -> None:
        super().__init__()
        self._use(Resize(height_and_width(image_size)) if transform is None else transform)

    def _use(self, transform: Transform | None) -> None:
        self.transform = exact(transform)
        self.export_transform = convert_center_crop_transform(exact(transform))

    def checkpoint_config(self) -> dict[str, Any]:
        """Return the transforms as plain data for the checkpoint, or in words where they are no plain data."""
        transform = plain(self.transform)
        try:
            return {"transform": transform_to_spec(transform)}
        except ValueError:
            return {"transform": None, LOST: words(transform)}

    def load_checkpoint_config(self, config: dict[str, Any]) -> None:
        """Restore what `checkpoint_config` returned.

        Raises:
            ValueError: If it had to leave transforms out and this pre-processor has not got the same.
        """
        if LOST not in config:
            self._use(spec_to_transform(config["transform"]))
        elif self.checkpoint_config() != config:
            msg = (
                f"The checkpoint was trained with a pre-processor that it cannot hold ({config[LOST]}), but this one "
                f"has {words(plain(self.transform))}: give the same as pre_processor."
            )
            raise ValueError(msg)


def exactly(pre_processor: nn.Module | bool) -> nn.Module | bool:
    """Return anomalib's own pre-processor with an exact resize; any other as it is."""
    if type(pre_processor) is not PreProcessor:
        return pre_processor
    return ExactPreProcessor(transform=pre_processor.transform or Compose([ThreeChannels()]))


def exact(transform: Transform | None) -> Compose:
    """Return transforms in which a resize has the same pixels everywhere, with grey images made RGB before.

    Raises:
        ValueError: If there is a ``Normalize`` among them, or something that changes images before their resize: data
            modules resize first, whatever the order here, and prediction and export do not.
    """
    given = list(steps(transform))
    resize = next((place for place, step in enumerate(given) if isinstance(step, v2.Resize)), 0)
    for step in given[:resize]:
        if not isinstance(step, ANYWHERE):
            msg = (
                f"The pre-processor has {step!r} before its Resize, expected the Resize first, as anomalib's data "
                "modules apply it: change the order."
            )
            raise ValueError(msg)
    return Compose([ThreeChannels(), *(exact_step(step) for step in steps(transform))])


def exact_step(step: nn.Module) -> nn.Module:
    """Return one transform, with an anti-aliased bilinear resize made exact."""
    if isinstance(step, v2.Normalize):
        msg = (
            f"The pre-processor has a Normalize (mean {list(step.mean)}, std {list(step.std)}), expected images in "
            "0..1: take it out; the model normalises them itself."
        )
        raise ValueError(msg)
    if isinstance(step, v2.Resize) and str(getattr(step.interpolation, "value", step.interpolation)) == "bilinear":
        return Resize(step.size, step.max_size) if step.antialias else step
    return step


def words(transform: Transform | None) -> str:
    """Return the steps of transforms with their parameters, the same in every process."""
    return re.sub(" at 0x[0-9a-f]+", "", ", ".join(map(repr, steps(transform))))


def plain(transform: Transform | None) -> Transform | None:
    """Return the same transforms in torchvision's own classes, ``None`` for none: what a checkpoint can hold."""
    found = [
        v2.Resize(list(step.size), max_size=step.max_size) if isinstance(step, Resize) else step
        for step in steps(transform)
    ]
    return Compose(found) if found else None


def steps(transform: Transform | None) -> Iterator[Any]:
    """Yield single transforms in their order, without those that are always there."""
    if isinstance(transform, Compose):
        for step in transform.transforms:
            yield from steps(step)
    elif transform is not None and not isinstance(transform, ThreeChannels):
        yield transform

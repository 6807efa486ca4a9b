"""The normal images of a fit: those that are trained on, those held out, and how both look at test time."""

import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any, Final

from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.pytorch import Callback
from torch import Tensor
from torch.utils.data import DataLoader

from anomalib_stc.host.files import warn_deep
from anomalib_stc.host.holdout import (
    collate_of,
    drawn,
    hashed,
    marks_of,
    once,
    own_transform,
    part,
    paths_of,
    plain_loader,
    split_holdout,
    test_transform,
)
from anomalib_stc.parts.bank import IMAGES

logger = logging.getLogger(__name__)
BATCH_SIZE: Final = 8
MAPS: Final = 60  # normal images whose maps set the pixel threshold, where a bank can leave out those it knows
STRANGER: Final = -1  # number of an image that no bank knows


class NormalImages:
    """Training images of a fit, some of them held out where there is a data module to hold them out of.

    They come as validation's do: through the data module's test transforms, its function that makes batches, and the
    model's pre-processor.

    Args:
        mark: Of the images of an earlier fit, or of a checkpoint, until there are others.
    """

    def __init__(self, mark: str = "") -> None:
        self.training: Any = None
        self._distinct: Any = None  # each of them once
        self.held_out: Any = None
        self.mark = mark  # of the images that were held out, and of the others: a bank numbers them
        self.share = 0.0  # that is held out
        self.apart = False  # whether the held-out images are not trained on
        self._transform: Callable[[Any], Any] = lambda _: None  # what held-out images go through, by the pre-processor
        self._collate: Callable[[list[Any]], Any] | None = None
        self._whole: tuple[Any, Any] | None = None  # the data module, and all its training images

    def split(self, trainer: Any, fraction: float) -> None:
        """Hold a share of a data module's training images out; without a data module, leave all as it is."""
        datamodule: Any = getattr(trainer, "datamodule", None)
        whole = getattr(datamodule, "train_data", None)
        if whole is None:
            return
        self.share = fraction
        self._hold_out(*split_holdout(whole, fraction))
        self.apart = True
        self._collate = getattr(datamodule, "external_collate_fn", None) or collate_of(whole)
        self._transform = partial(test_transform, datamodule, whole)
        self._whole = (datamodule, whole)
        datamodule.train_data = self.training
        warn_deep(paths_of(whole))

    def _hold_out(self, training: Any, held_out: Any) -> None:
        self.training, self.held_out = training, once(held_out)
        self._distinct = once(training)
        self.mark = hashed("\n".join([*marks_of(held_out), "", *marks_of(training)])).hex()

    def find(self, trainer: Any) -> None:
        """Where the loader does not show what was split, use the training images themselves, and say so.

        Raises:
            ValueError: If there is no data set to be seen.
        """
        loader: Any = trainer.train_dataloader
        if getattr(loader, "dataset", None) is self.training and self.training is not None:
            return
        if not isinstance(loader, DataLoader):
            msg = (
                f"Training images came in a {type(loader).__name__}, expected a DataLoader: its data set is where "
                "scales and thresholds come from."
            )
            raise ValueError(msg)
        self._hold_out(loader.dataset, drawn(once(loader.dataset), IMAGES, 0))
        self.apart = False
        self._collate = loader.collate_fn
        validation = trainer.fit_loop.epoch_loop.val_loop._data_source.instance  # not loaded yet
        evaluated: Any = next(iter(_listed(validation)), loader)
        self._transform = lambda _: own_transform(evaluated.dataset)
        logger.warning(
            "The training images came without a data module that could hold some out: scales and thresholds come from "
            "the training images themselves, transformed as those of %s.",
            "training" if evaluated is loader else "validation",
        )

    def give_back(self) -> None:
        """Give the data module all its training images back."""
        if self._whole is not None:
            datamodule, whole = self._whole
            datamodule.train_data = whole
            self._whole = None

    def known(self, pl_module: Any, count: int, seed: int) -> tuple[list[Tensor], list[Tensor]]:
        """Return batches (B, 3, H, W) of held-out and of training images as they are at test time, a number at most.

        Held-out images are the first ones, in order, training images are drawn by a seed. Where the training images
        themselves stand for held-out ones, there are no others. An image that a data set has twice is known once: a
        bank would find it in the other one.
        """
        held_out, others = self._known(count, seed)
        first = list(self.images(pl_module, held_out))
        return (first, list(self.images(pl_module, others))) if self.apart else ([], first)

    def _known(self, count: int, seed: int) -> tuple[Any, Any]:
        held_out = part(self.held_out, range(min(len(self.held_out), count // 2 if self.apart else count)))
        return held_out, drawn(self._distinct, count - len(held_out), seed) if self.apart else []

    def numbered(self, pl_module: Any) -> Iterator[tuple[list[int], Tensor]]:
        """Yield batches (B, 3, H, W) of the images that set the pixel threshold, with their numbers in a bank.

        They are the held-out ones, and so many that the bank knows that there are `MAPS`, spread over all of these.

        A quantile of a handful of images may be the strangest one's. What was trained errs hardly less on these than on
        held-out ones.
        """
        bank = pl_module.model.bank if pl_module.model.known_scores is not None else None
        known, others = self._known(IMAGES, 0 if bank is None else int(bank.seed))
        numbers = [number if number < len(known) else STRANGER for number in range(len(self.held_out))]
        yield from numbered(self.images(pl_module, self.held_out), numbers)
        count = min(len(others), MAPS - len(numbers))
        if bank is not None and count > 0:
            places = [place * len(others) // count for place in range(count)]
            yield from numbered(self.images(pl_module, part(others, places)), [len(known) + place for place in places])

    def images(self, pl_module: Any, dataset: Any) -> Iterator[Tensor]:
        """Yield a data set's images in batches (B, 3, H, W), as they are at test time, on the module's device."""
        pre_processor = pl_module.pre_processor
        transform = self._transform(pre_processor)
        for index, loaded in enumerate(plain_loader(dataset, transform, BATCH_SIZE, self._collate)):
            batch = move_data_to_device(loaded, pl_module.device)
            if isinstance(pre_processor, Callback):
                pre_processor.on_validation_batch_start(pl_module._trainer, pl_module, batch, index)
            yield batch.image


def numbered(batches: Iterable[Tensor], numbers: Iterable[int]) -> Iterator[tuple[list[int], Tensor]]:
    """Yield batches with the numbers of their images."""
    rest = iter(numbers)
    for batch in batches:
        yield [*islice(rest, len(batch))], batch


def _listed(loaders: Any) -> list[DataLoader]:
    """Return the loaders that have a data set to look at."""
    several = loaders if isinstance(loaders, list | tuple) else [loaders]
    return [loader for loader in several if isinstance(loader, DataLoader)]

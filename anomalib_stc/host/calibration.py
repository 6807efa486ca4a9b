"""Fits scales and thresholds to normal images, for the weights in force."""

from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from anomalib_stc.host.files import name_unreadable
from anomalib_stc.host.normals import NormalImages
from anomalib_stc.host.post_processor import NormalPostProcessor, summary
from anomalib_stc.host.precision import full_precision
from anomalib_stc.host.state import (
    Buffers,
    buffers_of,
    fingerprint,
    has_buffers,
    is_of_bank,
    same_on_all_ranks,
    set_buffers,
)
from anomalib_stc.parts.bank import IMAGES
from anomalib_stc.parts.scored_model import ScoredModel


class HoldoutCalibration(Callback):
    """Calibrates a model whose torch model is a `ScoredModel`, whenever its weights are looked at or saved.

    Scales and thresholds belong to certain weights. These are told by a fingerprint, so that nothing is fitted twice,
    and nothing stays that belongs to others: after averaging, inside an epoch, when a training is cut short.

    Args:
        fraction: Share of the training images to hold out.
        false_alarm_rate: Share of normal images above the threshold where validation has no anomaly.
    """

    def __init__(self, fraction: float, false_alarm_rate: float) -> None:
        self.fraction = fraction
        self.false_alarm_rate = false_alarm_rate
        self.refit = False  # also where no training is, see `rescore`
        self.normals = NormalImages()
        self.forget()

    def forget(self) -> None:
        """Forget the images and weights of a fit."""
        self.bank_mark = ""  # of the images that the model's bank was made of
        self.normals = NormalImages(self.normals.mark)
        self._begun: int | None = None  # fingerprint of the weights that a fit began with
        self._fitted: int | None = None  # and of those that the scales belong to
        self._trains = False  # whether the fit has begun to train
        self._bank: Buffers = {}  # what a bank has known since then
        self._validated: tuple[int | None, Buffers, Buffers] = (None, {}, {})  # and of those a validation has seen
        self._by_bank: tuple[Tensor, Tensor] | None = None  # scores and maps of normal images that no training changes

    def __getstate__(self) -> dict[str, Any]:
        """Leave the images out of a pickle: a model needs none of them any more."""
        return {"fraction": self.fraction, "false_alarm_rate": self.false_alarm_rate}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin anew with the same shares."""
        self.__init__(**state)  # type: ignore[misc]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Split the data module's training images before a fit."""
        del pl_module
        if stage != "fit" and not self.refit:
            return
        self.normals.give_back()
        self.forget()
        self.normals.split(trainer, self.fraction)

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Note the weights that a fit begins with, a checkpoint's or an earlier fit's: their scales are right."""
        del trainer
        self._begun = fingerprint(pl_module.model)

    def note_bank(self, pl_module: Any) -> None:
        """Note what a bank knows: an average of weights may have begun before it did, and rounds whole numbers down."""
        self.bank_mark = self.normals.mark
        self._by_bank = None
        self._trains = True
        self._bank = {name: value for name, value in buffers_of(pl_module.model).items() if is_of_bank(name)}

    def split_again(self, trainer: Any) -> None:
        """Split by the share that a checkpoint brought, where the fit that goes on from it had split by another."""
        if not self.normals.apart or self.normals.share == self.fraction:
            return
        self.normals.give_back()
        self.normals.split(trainer, self.fraction)
        trainer.fit_loop._combined_loader = None  # it has the old share

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the data module all its training images back."""
        del trainer, pl_module, stage
        self.normals.give_back()

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Leave nothing of a fit that broke: not in the data module, and no scales of other weights in the model."""
        self.normals.give_back()
        name_unreadable(exception, trainer)
        if trainer.state.fn != "fit" or self._begun is None:
            return
        if fingerprint(pl_module.model) not in {self._begun, self._fitted}:
            pl_module.model.score.forget()
            if isinstance(pl_module.post_processor, NormalPostProcessor):
                pl_module.post_processor.forget()

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Calibrate before validation finds its own thresholds on the same scale, on the weights that it looks at."""
        if self._calibrates(trainer):
            self.settle(pl_module)
            self._validated = (None, buffers_of(pl_module.model), buffers_of(pl_module.post_processor))

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Keep what validation has found together with the weights it belongs to."""
        if self._calibrates(trainer):
            _, scales, normal = self._validated
            found = buffers_of(pl_module.post_processor)
            own = {name: value for name, value in normal.items() if name.startswith("normal_")}
            self._validated = (self._fitted, scales, {**found, **own})  # an average of weights has been taken out again

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Calibrate the weights that are kept: a training may end in the middle of an epoch, or in an average."""
        del trainer
        self.settle(pl_module)

    def complete(self, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Give a checkpoint the scales and thresholds of its own weights, which may be an average of the model's."""
        if self.normals.held_out is None or not self._calibrates(pl_module.trainer):
            return
        another = pl_module.trainer.state.finished and not has_buffers(pl_module.model, self._bank)
        if not self.refit and (another or not self._trains):
            return  # weights of before the fit, or loaded after it: their scales and thresholds are their own
        saved, live = checkpoint["state_dict"], pl_module.state_dict()
        if all(saved[name].data_ptr() == value.data_ptr() for name, value in live.items()):
            self.settle(pl_module)
            return
        kept = {name: value.clone() for name, value in live.items()}
        fitted = self._fitted
        pl_module.load_state_dict(saved)
        self.settle(pl_module)
        checkpoint["state_dict"] = {name: value.clone() for name, value in pl_module.state_dict().items()}
        pl_module.load_state_dict(kept)
        self._fitted = fitted

    def _calibrates(self, trainer: Any) -> bool:
        return (trainer.state.fn == "fit" or self.refit) and not trainer.sanity_checking

    @torch.no_grad()
    def settle(self, pl_module: Any) -> None:
        """Make scales and thresholds those of the module's weights, unless they are."""
        if self.normals.held_out is None:
            return
        same_on_all_ranks(pl_module)
        set_buffers(pl_module.model, self._bank)
        weights = fingerprint(pl_module.model)
        if weights == self._validated[0]:
            for part, buffers in zip((pl_module.model, pl_module.post_processor), self._validated[1:], strict=True):
                set_buffers(part, buffers)
        elif weights != self._fitted or not pl_module.model.score.calibrated:
            self._fit(pl_module)
            same_on_all_ranks(pl_module)
        self._fitted = weights

    def _fit(self, pl_module: Any) -> None:
        model, post_processor = pl_module.model, pl_module.post_processor
        training = model.training
        model.eval()
        normals = partial(self.normals.images, pl_module, self.normals.held_out)
        with isolate_rng(), full_precision(pl_module.device):
            torch.manual_seed(0)  # of transforms that draw: the same for every checkpoint
            if self.refit and model.bank is not None:
                model.remember([*chain(*self.normals.known(pl_module, IMAGES, int(model.bank.seed)))])
            model.calibrate(normals)
            if isinstance(post_processor, NormalPostProcessor):
                post_processor.forget_validation()
                scores, maps = self._by_bank or self._scored(model, self.normals.numbered(pl_module))
                self._by_bank = None if model.score.asks_trained else (scores, maps)
                known = model.known_scores
                post_processor.fit_normals(scores if known is None else known, maps, self.false_alarm_rate)
        model.train(training)

    def _scored(self, model: ScoredModel, normals: Iterator[tuple[list[int], Tensor]]) -> tuple[Tensor, Tensor]:
        """Return scores (n,) and summaries of the maps (n, 3) of normal images.

        Of the images a bank knows, each is compared with others.
        """
        found = []
        for numbers, image in normals:
            one: Any = model.scored(image, numbers)
            found.append((one.pred_score.flatten(), summary(one.anomaly_map, self.false_alarm_rate)))
        scores, maps = (torch.cat(values) for values in zip(*found, strict=True))
        return scores, maps

"""Thresholds that a folder of normal images can set, and scores that keep their order."""

from typing import Any, Final

import torch
from anomalib.metrics import F1AdaptiveThreshold
from anomalib.post_processing import PostProcessor
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat

from anomalib_stc.parts.quantile import needed, upper_quantile

LEVELS: Final = ("image", "pixel")
PIXEL_SHARE: Final = 0.1  # of the rate of false alarms: the share of a normal image's pixels above the pixel threshold
PIXEL_IMAGES: Final = 2.0  # of it too: the share of normal images that have more, half of them at most


class NormalPostProcessor(PostProcessor):
    """anomalib's post-processor with a threshold for models that never saw a defect.

    Where the validation set holds anomalies, anomalib's thresholds (the best F1) stay in force. Where it is empty,
    absent or holds normal images only, the thresholds of ``fit_normals`` are used, instead of the highest validation
    score that anomalib would take. Image and pixel decide this for themselves, so that a set with labels but without
    masks keeps its image threshold and gets a pixel threshold from the normal maps. All of it is kept in buffers,
    which checkpoints and exports carry.

    Scores and maps come out in (0, 1) with 0.5 exactly at the threshold, in the order they came in: anomalib's
    min-max clamps everything outside the validation range to equal scores, ours never reaches 0 or 1.
    """

    normal_image_threshold: Tensor
    normal_pixel_threshold: Tensor

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for level in LEVELS:
            for what in ("threshold", "min", "max"):
                self.register_buffer(f"normal_{level}_{what}", torch.tensor(torch.nan))
        self._fitted_on = ""

    def fit_normals(self, scores: Tensor, maps: Tensor, rate: float) -> None:
        """Set the thresholds of a model that sees no anomaly, from normal images that it was not made of.

        The image threshold is a quantile of the scores, ``upper_quantile`` tells what few images can support, the pixel
        threshold one of the maps' levels, see `pixel_threshold`.

        Args:
            scores: Image scores (n,) before normalisation, gathered from all processes.
            maps: Lowest pixel, highest pixel and level (m, 3) of maps by the same rate, see `summary`.
            rate: Share of normal images that are to be called anomalous, between 0 and 1.

        Raises:
            ValueError: If there are no scores or no maps, a value is not finite, or the rate is not in (0, 1).
        """
        self._set_normal("image", upper_quantile(scores, 1 - rate), scores.min(), scores.max())
        self._set_normal("pixel", pixel_threshold(maps, rate), maps[:, 0].min(), maps[:, 1].max())
        self._fitted_on = f"the {1 - rate:g} quantile of {len(scores)} normal images"
        if len(scores) < needed(1 - rate):
            self._fitted_on += f" (so few support a rate of {1 / (len(scores) + 1):.2g} by themselves, not {rate:g})"

    def forget_validation(self) -> None:
        """Let the normal thresholds be in force again: those of a validation belong to the weights it has seen."""
        for level in LEVELS:
            self._use_normal(level)

    def forget(self) -> None:
        """Be without thresholds and ranges: those there are belong to other weights."""
        for value in self.buffers():
            value.fill_(torch.nan)

    def _use_normal(self, level: str) -> None:
        """Put the normal threshold of a level in force, and the range that belongs to it, if there are such."""
        getattr(self, f"_{level}_threshold").fill_(torch.nan)
        if not torch.isnan(getattr(self, f"normal_{level}_threshold")):
            for end in ("min", "max"):
                getattr(self, f"{level}_{end}").copy_(getattr(self, f"normal_{level}_{end}"))

    def load_checkpoint_config(self, config: dict[str, Any]) -> None:
        """Restore what ``checkpoint_config`` returned, but for what this post-processor was given of its own.

        A sensitivity is a matter of use, not of training: who gives one with a checkpoint wants it to hold.
        """
        usual = type(self)().checkpoint_config()
        given = {key: value for key, value in self.checkpoint_config().items() if value != usual[key]}
        super().load_checkpoint_config({**config, **given})
        for key, trained in config.items():
            if key in given and given[key] != trained:
                rank_zero_info(f"{key} is {given[key]} as given, not {trained} as in the checkpoint.")
            elif key not in given and usual.get(key) != trained:
                rank_zero_info(f"{key} is {trained} from the checkpoint, not the default {usual.get(key)}.")

    def _set_normal(self, level: str, threshold: Tensor, lowest: Tensor, highest: Tensor) -> None:
        """Keep a normal threshold and range; they are in force unless validation anomalies gave others."""
        found = {"threshold": threshold, "min": lowest, "max": torch.maximum(highest, threshold)}
        for what, value in found.items():
            getattr(self, f"normal_{level}_{what}").copy_(value)
        if torch.isnan(getattr(self, f"_{level}_threshold")):
            self._use_normal(level)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let anomalib compute thresholds and ranges only of what holds anomalies."""
        for level in LEVELS:
            if not _saw_anomaly(getattr(self, f"_{level}_threshold_metric")):
                self._leave_out(level)
        super().on_validation_epoch_end(trainer, pl_module)

    def _leave_out(self, level: str) -> None:
        getattr(self, f"_{level}_threshold_metric").reset()
        self._use_normal(level)
        if not torch.isnan(getattr(self, f"normal_{level}_threshold")):
            getattr(self, f"_{level}_min_max_metric").reset()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say in the log which threshold is in force if it came from normal images."""
        del trainer, pl_module
        if self._fitted_on and torch.isnan(self._image_threshold):
            rank_zero_info(
                f"No anomalies to validate on: images are called anomalous above an unscaled score of "
                f"{self.normal_image_threshold:.4g}, {self._fitted_on}."
            )

    @property
    def image_threshold(self) -> Tensor:
        """Score () above which an image is anomalous: from validation anomalies, else from normals."""
        return _first_known(self._image_threshold, self.normal_image_threshold, super().image_threshold, self.image_max)

    @property
    def pixel_threshold(self) -> Tensor:
        """Map value () above which a pixel is anomalous: from validation masks, else from normals."""
        return _first_known(self._pixel_threshold, self.normal_pixel_threshold, super().pixel_threshold, self.pixel_max)

    @property
    def normalized_image_threshold(self) -> Tensor:
        """Score () above which an image is anomalous, by the sensitivity."""
        host = super().normalized_image_threshold
        return self._by_sensitivity(host, self.image_threshold, self.image_min, self.image_max)

    @property
    def normalized_pixel_threshold(self) -> Tensor:
        """Map value () above which a pixel is anomalous, by the sensitivity."""
        host = super().normalized_pixel_threshold
        return self._by_sensitivity(host, self.pixel_threshold, self.pixel_min, self.pixel_max)

    def _by_sensitivity(self, host: Tensor, threshold: Tensor, lowest: Tensor, highest: Tensor) -> Tensor:
        """Return where anomalib's own min-max scale would have this threshold, on the scale that scores are on.

        So a sensitivity calls the same images anomalous as it does with anomalib's post-processor, as far as that one
        tells scores apart.
        """
        host = host.to(threshold.device)
        if self.enable_normalization:
            return squashed(2 * host - 1)
        moved = threshold + (host - 0.5) * torch.nan_to_num(highest - lowest)
        return torch.where(torch.isnan(threshold), host, moved)

    @staticmethod
    def _normalize(preds: Tensor | None, norm_min: Tensor, norm_max: Tensor, threshold: Tensor) -> Tensor | None:
        """Map scores of any shape to (0, 1), 0.5 at the threshold, monotone and without saturation.

        With x = 2 * (score - threshold) / (maximum - minimum) the result is 1/2 + 1/2 * x / (1 + |x|). It has
        anomalib's slope at the threshold, and tails of 1/x, so that float32 tells scores apart up to a million ranges
        beyond the threshold, where a sigmoid would end at 17. Written as 1 / (2 + 2|x|) from the nearer end, which
        loses no digits near 0.
        """
        if preds is None:
            return None
        span = norm_max - norm_min
        distance = 2 * (preds - threshold) / torch.where(span > 0, span, torch.ones_like(span))
        return torch.where(torch.isnan(span), preds, squashed(distance))


def squashed(distance: Tensor) -> Tensor:
    """Map distances from the threshold to (0, 1), see `NormalPostProcessor._normalize`."""
    tail = 0.5 / (1 + distance.abs())
    return torch.where(distance > 0, 1 - tail, tail)


def summary(maps: Tensor, rate: float) -> Tensor:
    """Return lowest pixel, highest pixel and level (n, 3) of maps (n, ...): `PIXEL_SHARE` of the rate lies above it."""
    pixels = maps.flatten(1).sort(dim=1).values
    last = pixels.shape[1] - 1
    return pixels[:, [0, last, int((1 - PIXEL_SHARE * rate) * last)]]


def pixel_threshold(maps: Tensor, rate: float) -> Tensor:
    """Return the threshold () of pixels: of the levels of normal maps (n, 3), `PIXEL_IMAGES` of the rate are above it.

    A quantile of all pixels together would belong to the few normal images that look strangest: all of the pixels above
    it may be theirs, and most of a faint defect's below it. A quantile of each image's highest pixel would leave normal
    images without a mask, and most of the pixels of defects out of theirs.
    """
    return upper_quantile(maps[:, 2], max(1 - PIXEL_IMAGES * rate, 0.5))


def _first_known(*values: Tensor) -> Tensor:
    """Take the first value that is not NaN."""
    known = values[-1]
    for value in reversed(values[:-1]):
        known = torch.where(torch.isnan(value), known, value)
    return known


def _saw_anomaly(metric: F1AdaptiveThreshold) -> bool:
    """Whether the targets of all processes hold an anomaly."""
    if not metric.update_called:
        return False
    with metric.sync_context():
        return bool(dim_zero_cat(metric.target).any())

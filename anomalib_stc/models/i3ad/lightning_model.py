"""I3AD as a model of anomalib: its arguments, and the parts they make."""

from collections.abc import Collection
from typing import Final

from anomalib.metrics import Evaluator
from anomalib.models import AnomalibModule
from anomalib.visualization import Visualizer
from torch import Tensor, nn

from anomalib_stc.host.module import ReconstructionModule
from anomalib_stc.models.i3ad.adaptive_mask import AdaptiveMask
from anomalib_stc.models.i3ad.inpainting import Inpainting
from anomalib_stc.models.i3ad.loss import I3adLoss
from anomalib_stc.models.i3ad.torch_model import I3adModel, Turns
from anomalib_stc.models.i3ad.training_masks import TrainingMasks
from anomalib_stc.models.i3ad.turns import turn_pictures
from anomalib_stc.parts.backbone import OFFLINE_BACKBONE
from anomalib_stc.parts.bank import BANK_WEIGHTS, LOCAL, TERMS
from anomalib_stc.parts.checks import check, merged
from anomalib_stc.parts.codebook import Codebook
from anomalib_stc.parts.features import COLOUR, texture_features
from anomalib_stc.parts.score import AnomalyScore, ImageScore
from anomalib_stc.parts.sizes import IMAGE_SIZE, LEAST, STRIDE, height_and_width

LOSS_WEIGHTS: Final = {
    "masked": 1.0,
    "unmasked": 0.1,
    "similarity": 0.5,
    "feature": 1.0,
    "doubt": 0.1,
    "adversarial": 0.05,
}
SCORE_WEIGHTS: Final = {**BANK_WEIGHTS, "feature": 0.0, "colour": 0.0, "similarity": 0.0}
NEEDS: Final = {"feature": "feature", "colour": "doubt"}  # terms of the score, and the loss that teaches what they need


class I3ad(ReconstructionModule, AnomalibModule):
    """What looks anomalous is hidden and filled from what is left, by turns; what does not fit is the anomaly.

    After Nakanishi et al., *Iterative Image Inpainting with Structural Similarity Mask for Anomaly Detection*, 2020
    (its abstract and introduction); not a replication.

    Args:
        image_size: Height and width the images are resized to, multiples of 16 from 64; one number for a square.
        backbone: timm name or ``local-dir:FOLDER`` of the frozen features, or ``none`` to use the pixels.
        codebook_items: Clusters of normal features, of which the network guesses one for every cell.
        cell: Side in pixels of what the first turn hides at a time, a multiple of 8 below the image's side.
        iterations: Turns after the first, which hides everything once.
        loss_weights: Weights of the losses: L1 of hidden (``masked``) and of visible pixels (``unmasked``), structural
            ``similarity``, guess of the cluster (``feature``), expected error of the colours (``doubt``),
            ``adversarial``. What is not named keeps its default; 0 for none.
        score_weights: Weights of the map's terms. Where not given, 1 for those of `MemoryBank`, 0 for what is trained:
            how unlikely the image's features are under the guess (``feature``), ``colour`` error over the expected one,
            structural ``similarity``.
        image_score: Image score from the map of the bank's terms: ``top`` (mean of the highest hundredth, above the
            image's level), ``max``, or ``mean`` of all of it.
        smoothing: Width of the Gaussian on the map, in pixels.
        learning_rate: Largest learning rate of Adam.
        train_images: Images to show in all where the trainer was told no length.
        holdout: Share of the normal training images kept out for calibration and thresholds.
        false_alarm_rate: Share of normal images above the threshold where validation has no anomalies.
        pre_processor: See `AnomalibModule`.
        post_processor: See `AnomalibModule`.
        evaluator: See `AnomalibModule`; `AuproEvaluator` adds AUPRO.
        visualizer: See `AnomalibModule`.

    Raises:
        ValueError: If an argument is out of range or a network cannot be built; the sentence says which.
    """

    model: I3adModel
    loss: I3adLoss

    def __init__(
        self,
        image_size: int | tuple[int, int] = IMAGE_SIZE,
        backbone: str = OFFLINE_BACKBONE,
        codebook_items: int = 200,
        cell: int = 32,
        iterations: int = 0,
        loss_weights: dict[str, float] = LOSS_WEIGHTS,
        score_weights: dict[str, float] = SCORE_WEIGHTS,
        image_score: ImageScore = "top",
        smoothing: float = 2.0,
        learning_rate: float = 2e-3,
        train_images: int = 600,
        holdout: float = 0.1,
        false_alarm_rate: float = 0.05,
        pre_processor: nn.Module | bool = True,
        post_processor: nn.Module | bool = True,
        evaluator: Evaluator | bool = True,
        visualizer: Visualizer | bool = True,
    ) -> None:
        size = height_and_width(image_size, STRIDE, LEAST)
        super().__init__(self.sized(pre_processor, image_size), post_processor, evaluator, visualizer)
        losses = merged("Loss weights", loss_weights, LOSS_WEIGHTS)
        score = merged("Score weights", score_weights, SCORE_WEIGHTS)
        for term, loss in NEEDS.items():
            fits = losses[loss] > 0 or score[term] == 0
            check(f"Loss weight '{loss}'", losses[loss], fits, f"more than 0 where score weight '{term}' is")
        fits = losses["feature"] > 0 or iterations == 0
        check("Loss weight 'feature'", losses["feature"], fits, "more than 0 where turns hide by the guess")
        features = texture_features(backbone, COLOUR)
        self.model = I3adModel(
            features,
            Codebook(codebook_items, features.channels),
            Inpainting(codebook_items),
            AdaptiveMask(),
            AnomalyScore(score, smoothing, image_score, TERMS, LOCAL),
            TrainingMasks(),
            iterations,
            cell,
        )
        if pre_processor is True:  # any other has a size of its own
            self.model.check_size(size)
        self.loss = I3adLoss(losses, bias=False)
        self.set_up(learning_rate, train_images, holdout, false_alarm_rate)

    def pictures(self, inferred: Turns, drawn: Collection[str]) -> dict[str, Tensor]:
        """Return the last image and, if they are drawn, every turn's mask, image and suspicion."""
        if "turns" not in drawn:
            return super().pictures(inferred, drawn)
        return {**super().pictures(inferred, drawn), "turns": turn_pictures(self.model, inferred)}

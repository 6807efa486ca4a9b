"""ProxyAno as a model of anomalib: its arguments, and the parts they make."""

from collections.abc import Collection
from typing import Final

from anomalib.metrics import Evaluator
from anomalib.models import AnomalibModule
from anomalib.visualization import Visualizer
from torch import Tensor, nn

from anomalib_stc.host.module import ReconstructionModule
from anomalib_stc.models.proxy_ano.loss import ProxyAnoLoss
from anomalib_stc.models.proxy_ano.proxy import SuperpixelImage
from anomalib_stc.models.proxy_ano.pseudo_anomaly import PatchPaste
from anomalib_stc.models.proxy_ano.reconstruction import ImageReconstruction
from anomalib_stc.models.proxy_ano.torch_model import Bridge, ProxyAnoModel
from anomalib_stc.parts.backbone import OFFLINE_BACKBONE
from anomalib_stc.parts.bank import BANK_WEIGHTS, LOCAL, TERMS
from anomalib_stc.parts.blocks import quiet
from anomalib_stc.parts.branch import Branch, texture_decoder
from anomalib_stc.parts.checks import merged
from anomalib_stc.parts.features import COLOUR, texture_features
from anomalib_stc.parts.memory import Memory
from anomalib_stc.parts.score import AnomalyScore, ImageScore
from anomalib_stc.parts.sizes import IMAGE_SIZE, LEAST, STRIDE, height_and_width

LOSS_WEIGHTS: Final = {"proxy": 1.0, "value": 1.0, "pixel": 1.0, "adversarial": 0.1}
SCORE_WEIGHTS: Final = {**BANK_WEIGHTS, "correspondence": 0.0, "pixel": 0.0, "proxy": 0.0}
TEMPERATURE: Final = 30.0  # start; learned: 10 mixes more items and dims what is bright
WIDTHS: Final = (32, 16)  # of the proxy's decoder at strides 8 and 4: as STCM's


class ProxyAno(ReconstructionModule, AnomalibModule):
    """The image rebuilt from its superpixel-image, which is found through a memory of normal correspondences.

    After Zhou et al., *Proxy-bridged Image Reconstruction Network for Anomaly Detection in Medical Images*, IEEE TMI
    41(3), 2022, arXiv 2110.01761 (its abstract); not a replication.

    Args:
        image_size: Height and width the images are resized to, multiples of 16 from 64; one number for a square.
        backbone: timm name or ``local-dir:FOLDER`` of the frozen texture features, or ``none`` to use the pixels.
        superpixels: Number of superpixels an image.
        superpixel_folder: Where superpixels of 16,384 images at most are kept from one run to the next; ``None`` keeps
            them in memory.
        memory_items: Items of the memory.
        pseudo_anomalies: Share of the training images with a pseudo anomaly; 0 for none.
        loss_weights: Weights of the losses: L1 of the predicted ``proxy``, distance of the memory's read-out to the
            texture features (``value``), L1 of the reconstruction (``pixel``), ``adversarial``. What is not named keeps
            its default; 0 for none.
        score_weights: Weights of the map's terms. Where not given, 1 for those of `MemoryBank`, 0 for what is trained:
            distance of the read-out to the image's features (``correspondence``), ``pixel`` residual, difference of
            the predicted ``proxy`` and the image, blurred at that scale.
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

    model: ProxyAnoModel
    loss: ProxyAnoLoss

    def __init__(
        self,
        image_size: int | tuple[int, int] = IMAGE_SIZE,
        backbone: str = OFFLINE_BACKBONE,
        superpixels: int = 300,
        superpixel_folder: str | None = None,
        memory_items: int = 200,
        pseudo_anomalies: float = 0.5,
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
        features = texture_features(backbone, COLOUR)
        channels = features.channels
        memory = Memory(memory_items, channels, channels, TEMPERATURE)
        score = merged("Score weights", score_weights, SCORE_WEIGHTS)
        decoder = texture_decoder(channels, WIDTHS)
        quiet(decoder[-1])
        self.model = ProxyAnoModel(
            features,
            Branch(nn.Identity(), memory, decoder),
            ImageReconstruction(),
            AnomalyScore(score, smoothing, image_score, TERMS, LOCAL),
            SuperpixelImage(superpixels, folder=superpixel_folder),
            PatchPaste(pseudo_anomalies),
        )
        if pre_processor is True:  # any other has a size of its own
            self.model.check_size(size)
        self.loss = ProxyAnoLoss(merged("Loss weights", loss_weights, LOSS_WEIGHTS))
        self.set_up(learning_rate, train_images, holdout, false_alarm_rate)

    def pictures(self, inferred: Bridge, drawn: Collection[str]) -> dict[str, Tensor]:
        """Return the predicted proxy and the reconstruction."""
        return {**super().pictures(inferred, drawn), "proxy": inferred.proxy.clamp(0, 1)}

"""STCM as a model of anomalib: its arguments, and the parts they make."""

from collections.abc import Iterable
from typing import Any, Final

from anomalib.metrics import Evaluator
from anomalib.models import AnomalibModule
from anomalib.visualization import Visualizer
from torch import Tensor, nn

from anomalib_stc.host.module import ReconstructionModule
from anomalib_stc.models.stcm.loss import StcmLoss
from anomalib_stc.models.stcm.semantic import PartSegmentation, UserSegmentation
from anomalib_stc.models.stcm.structure import SoftCanny, StructureExtractor
from anomalib_stc.models.stcm.torch_model import Attention, StcmModel
from anomalib_stc.parts.backbone import OFFLINE_BACKBONE
from anomalib_stc.parts.bank import BANK_WEIGHTS, LOCAL, TERMS
from anomalib_stc.parts.branch import Branch, structure_encoder, texture_decoder
from anomalib_stc.parts.checks import check, merged
from anomalib_stc.parts.features import TextureFeatures, texture_features
from anomalib_stc.parts.memory import Memory
from anomalib_stc.parts.score import AnomalyScore, ImageScore
from anomalib_stc.parts.sizes import IMAGE_SIZE, LEAST, STRIDE, height_and_width

LOSS_WEIGHTS: Final = {"pixel": 1.0, "branch": 1.0, "value": 1.0, "structure": 0.5, "adversarial": 0.1}
SCORE_WEIGHTS: Final = {**BANK_WEIGHTS, "correspondence": 0.0, "pixel": 0.0, "low_level": 0.0, "semantic": 0.0}
PARTS: Final = 256  # visual words rather than objects: fine enough that a part tells which texture belongs there
KEY_CHANNELS: Final = 48  # of the queries; half the time of a forward pass goes to the two branches
WIDTHS: Final = (32, 16)  # of the decoders at strides 8 and 4, for the same reason
BUILT_IN: Final = ("parts", "none")  # semantic structures that need nothing of the user's
NO_STRUCTURE: Final = "0 without a semantic structure"


class Stcm(ReconstructionModule, AnomalibModule):
    """Texture inferred from two structures through a memory of normal correspondences.

    After Zhou et al., *Memorizing Structure-Texture Correspondence for Image Anomaly Detection*, IEEE TNNLS 33(6),
    2022 (its abstract) and its predecessor P-Net; not a replication.

    Args:
        image_size: Height and width the images are resized to, multiples of 16 from 64; one number for a square.
        backbone: timm name or ``local-dir:FOLDER`` of the frozen texture features, or ``none`` to use the pixels.
        semantic: Semantic structure beside edges: ``parts`` (k-means of the features, a substitute for labels), the
            path of a `torch.export` program, which checkpoints then hold, the dotted path of an `nn.Module` class,
            whose package checkpoints need, or ``none``.
        semantic_args: Arguments of that class.
        memory_items: Items of every memory.
        loss_weights: Weights of the losses: L1 of the fused image (``pixel``) and of the branches' images (``branch``),
            distance of the memories' read-outs to the texture features (``value``), difference of the structures of
            image and reconstruction (``structure``), ``adversarial``. What is not named keeps its default; 0 for none.
        score_weights: Weights of the map's terms. Where not given, 1 for those of `MemoryBank`, 0 for what is trained:
            distance of the fused read-out to the image's features (``correspondence``), ``pixel`` residual, difference
            of the edges of image and reconstruction (``low_level``), the same of the ``semantic`` structures; with
            ``parts`` that costs a second pass of the backbone.
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

    model: StcmModel
    loss: StcmLoss

    def __init__(
        self,
        image_size: int | tuple[int, int] = IMAGE_SIZE,
        backbone: str = OFFLINE_BACKBONE,
        semantic: str = "parts",
        semantic_args: dict[str, Any] | None = None,
        memory_items: int = 200,
        loss_weights: dict[str, float] = LOSS_WEIGHTS,
        score_weights: dict[str, float] = SCORE_WEIGHTS,
        image_score: ImageScore = "top",
        smoothing: float = 2.0,
        learning_rate: float = 2e-3,
        train_images: int = 800,
        holdout: float = 0.1,
        false_alarm_rate: float = 0.05,
        pre_processor: nn.Module | bool = True,
        post_processor: nn.Module | bool = True,
        evaluator: Evaluator | bool = True,
        visualizer: Visualizer | bool = True,
    ) -> None:
        size = height_and_width(image_size, STRIDE, LEAST)
        super().__init__(self.sized(pre_processor, image_size), post_processor, evaluator, visualizer)
        features = texture_features(backbone)
        structures = extractors(features, semantic, semantic_args)
        weights = merged("Score weights", score_weights, SCORE_WEIGHTS)
        fits = weights["semantic"] == 0 or "semantic" in structures
        check("Score weight 'semantic'", weights["semantic"], fits, NO_STRUCTURE)
        can = {name: weight for name, weight in weights.items() if name != "semantic" or name in structures}
        branches = {name: branch(extractor, features, memory_items) for name, extractor in structures.items()}
        attention = Attention(len(branches), KEY_CHANNELS) if len(branches) > 1 else None
        self.model = StcmModel(
            features, structures, branches, attention, AnomalyScore(can, smoothing, image_score, TERMS, LOCAL)
        )
        if pre_processor is True:  # any other has a size of its own
            self.model.check_size(size)
        self.loss = StcmLoss(merged("Loss weights", loss_weights, LOSS_WEIGHTS))
        self.set_up(learning_rate, train_images, holdout, false_alarm_rate)

    def portable(self) -> dict[str, Any]:
        """Return arguments that stand for files, of a program its bytes."""
        extractors: Iterable[Any] = self.model.extractors.values()
        programs = {name: value for one in extractors for name, value in one.portable().items()}
        return {**super().portable(), **programs}


def extractors(
    features: TextureFeatures, semantic: str | Tensor, semantic_args: dict[str, Any] | None
) -> dict[str, StructureExtractor]:
    """Return the structure extractors by name, ``semantic`` where there is one, and ``low_level``.

    Args:
        features: Texture features.
        semantic: As the model's; a checkpoint holds the bytes (n,) uint8 of a program instead of its path.
        semantic_args: As the model's.

    Raises:
        ValueError: If the user's segmentation network cannot be loaded, or there are arguments and no class for them.
    """
    low_level: dict[str, StructureExtractor] = {"low_level": SoftCanny()}
    if isinstance(semantic, Tensor) or semantic not in BUILT_IN:
        return {"semantic": UserSegmentation(semantic, semantic_args), **low_level}
    check("Semantic arguments", semantic_args, not semantic_args, f"none where the structure is '{semantic}'")
    if semantic == "none":
        return low_level
    return {"semantic": PartSegmentation(features.channels, PARTS), **low_level}


def branch(extractor: StructureExtractor, features: TextureFeatures, memory_items: int) -> Branch:
    """Return the way from a structure through a memory to an image."""
    return Branch(
        structure_encoder(extractor.channels, extractor.stride, KEY_CHANNELS),
        Memory(memory_items, KEY_CHANNELS, features.channels),
        texture_decoder(features.channels, WIDTHS),
    )

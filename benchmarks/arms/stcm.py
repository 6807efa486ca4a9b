"""STCM with other parts: one arm for every claim that its arguments cannot ask about."""

from typing import Any, Final

import torch
from torch import Tensor, nn

from anomalib_stc.models import Stcm
from anomalib_stc.models.stcm.lightning_model import KEY_CHANNELS, WIDTHS
from anomalib_stc.models.stcm.structure import StructureExtractor
from anomalib_stc.models.stcm.torch_model import StcmModel
from anomalib_stc.parts.bank import LOCAL, TERMS
from anomalib_stc.parts.branch import Branch, structure_encoder, texture_decoder
from anomalib_stc.parts.checks import check
from anomalib_stc.parts.score import AnomalyScore
from benchmarks.arms.no_memory import NoMemory

IMAGE: Final = "image"


class ImageItself(StructureExtractor):
    """No structure: the branch becomes an autoencoder of the image."""

    channels = 3
    stride = 1

    def forward(self, image: Tensor, features: Tensor | None = None) -> Tensor:
        """Return the images (B, 3, H, W)."""
        del features
        return image


class MeanFusion(nn.Module):
    """Weights (B, branches, H/8, W/8) that are all the same."""

    def forward(self, queries: list[Tensor]) -> Tensor:
        """Return the weights for the branches' queries (B, key_channels, H/8, W/8)."""
        return torch.full_like(queries[0][:, : len(queries)], 1 / len(queries))


def autoencoder(**arguments: Any) -> Stcm:
    """Return as many convolutions as a branch has, with no structure, no memory and no frozen features."""
    loss = {**arguments.pop("loss_weights", {}), "value": 0.0, "structure": 0.0}
    score = {**arguments.pop("score_weights", {}), "correspondence": 0.0}
    plain = {"backbone": "none", "semantic": "none", "loss_weights": loss, "score_weights": score}
    model = Stcm(**{**arguments, **plain})
    image, channels = ImageItself(), model.model.features.channels
    branch = Branch(
        structure_encoder(image.channels, image.stride, KEY_CHANNELS),
        NoMemory(KEY_CHANNELS, channels),
        texture_decoder(channels, WIDTHS),
    )
    score_alone = score_without("low_level", model.model.score)
    return rebuilt(model, extractors={IMAGE: image}, branches={IMAGE: branch}, score=score_alone)


def no_memory(**arguments: Any) -> Stcm:
    """Return a model whose branches map their queries to texture by a convolution."""
    model = Stcm(**arguments)
    channels = model.model.features.channels
    branches = {
        name: Branch(branch.encoder, NoMemory(KEY_CHANNELS, channels), branch.decoder)
        for name, branch in named(model.model.branches).items()
    }
    return rebuilt(model, branches=branches)


def semantic_only(**arguments: Any) -> Stcm:
    """Return a model without edges.

    Raises:
        ValueError: If it would have no structure at all.
    """
    model = Stcm(**arguments)
    extractors, branches = (named(parts) for parts in (model.model.extractors, model.model.branches))
    given = arguments.get("semantic")
    check("Semantic structure", given, len(extractors) > 1, "one, as parts, where there are no edges")
    del extractors["low_level"], branches["low_level"]
    score = score_without("low_level", model.model.score)
    return rebuilt(model, extractors=extractors, branches=branches, attention=None, score=score)


def mean_fusion(**arguments: Any) -> Stcm:
    """Return a model that takes the mean of its branches."""
    return rebuilt(Stcm(**arguments), attention=MeanFusion())


def rebuilt(model: Stcm, **parts: Any) -> Stcm:
    """Return a model whose network has some other parts, by the names of `StcmModel`'s arguments."""
    own: dict[str, Any] = {
        "features": model.model.features,
        "extractors": named(model.model.extractors),
        "branches": named(model.model.branches),
        "attention": model.model.attention,
        "score": model.model.score,
    }
    model.model = StcmModel(**{**own, **parts})
    return model


def named(modules: nn.ModuleDict) -> dict[str, Any]:
    """Return modules by their names."""
    return dict(modules.items())


def score_without(term: str, score: AnomalyScore) -> AnomalyScore:
    """Return a score, not calibrated, that lacks a term which cannot be computed any more."""
    weights = {name: score.weights.get(name, 0.0) for name in score.terms if name != term}
    return AnomalyScore(weights, score.sigma, score.reduction, TERMS, LOCAL)

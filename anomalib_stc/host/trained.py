"""Refuses a model that was never calibrated: its scores would mean nothing."""

from typing import Any

from anomalib_stc.host.post_processor import NormalPostProcessor


def check_trained(module: Any) -> None:
    """Raise a `ValueError` unless a Lightning module has a scale for every term of its score, and thresholds.

    Weights that were loaded into the network alone have no thresholds.
    """
    score, post_processor = module.model.score, module.post_processor
    missing = [f"scale for {term}" for term in score.weights if not score.scale(term).isfinite().all()]
    if isinstance(post_processor, NormalPostProcessor) and not post_processor.image_threshold.isfinite():
        missing.append("threshold")
    if missing:
        msg = (
            f"{type(module).__name__} is not trained: it has no {', no '.join(missing)}. Train it first, or give the "
            "checkpoint of a training (--ckpt_path, or load_from_checkpoint)."
        )
        raise ValueError(msg)

"""Refuses a model that was never calibrated: its scores would mean nothing."""

from typing import Any


def check_trained(module: Any) -> None:
    """Raise a `ValueError` unless the `ScoredModel` of a Lightning module has a scale for every term of its score."""
    score = module.model.score
    if score.calibrated:
        return
    missing = [term for term in score.weights if not score.scale(term).isfinite()]
    msg = (
        f"{type(module).__name__} is not trained: its score has no scale for {', '.join(missing)}. Train it first, "
        "or give the checkpoint of a training (--ckpt_path, or load_from_checkpoint)."
    )
    raise ValueError(msg)

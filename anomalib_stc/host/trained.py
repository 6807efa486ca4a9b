"""Refuses to predict or export with a model that was never calibrated: its scores would be wrong."""

from anomalib_stc.parts.scored_model import ScoredModel


def check_trained(model: ScoredModel, name: str) -> None:
    """Raise a `ValueError` unless a model has a scale for every term of its score."""
    if model.score.calibrated:
        return
    missing = [term for term in model.score.weights if not model.score.scale(term).isfinite()]
    msg = (
        f"{name} is not trained: its score has no scale for {', '.join(missing)}. Train it first, or give the "
        "checkpoint of a training that ended (--ckpt_path, or load_from_checkpoint)."
    )
    raise ValueError(msg)

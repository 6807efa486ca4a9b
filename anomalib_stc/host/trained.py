"""Refuses what would give wrong scores: a model that was never calibrated, arguments other than the checkpoint's."""

import inspect
from collections.abc import Mapping
from typing import Any, Final

SCORED_BY: Final = "scored_by"  # where a checkpoint holds them
ARGUMENTS: Final = ("score_weights", "image_score", "smoothing", "superpixels", "cell", "iterations")


def check_trained(module: Any) -> None:
    """Raise a `ValueError` unless the `ScoredModel` of a Lightning module has a scale for every term of its score."""
    score = module.model.score
    if score.calibrated:
        return
    missing = [term for term in score.weights if not score.scale(term).isfinite()]
    msg = (
        f"{type(module).__name__} is not trained: its score has no scale for {', '.join(missing)}. Train it first, "
        "or give the checkpoint of a training that ended (--ckpt_path, or load_from_checkpoint)."
    )
    raise ValueError(msg)


def scored_by(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a model's arguments that decide a score."""
    return {name: arguments[name] for name in ARGUMENTS if name in arguments}


def check_same_score(model: type, own: Mapping[str, Any], trained: Mapping[str, Any]) -> None:
    """Raise a `ValueError` if arguments that decide a score differ from those of a checkpoint's training.

    Args:
        model: The class, whose signature has the weights that were not given.
        own: What `scored_by` says of the model that loads.
        trained: What it said of the one that was saved.
    """
    parameters = inspect.signature(model).parameters
    for name in set(own) & set(trained):
        now, then = own[name], trained[name]
        if isinstance(now, Mapping) and name in parameters:
            now, then = {**parameters[name].default, **now}, {**parameters[name].default, **then}
        if now != then:
            msg = (
                f"{model.__name__} has {name} {now}, but the checkpoint was trained with {then}, from which its scales "
                f"and thresholds are: give the same {name}, or train again."
            )
            raise ValueError(msg)

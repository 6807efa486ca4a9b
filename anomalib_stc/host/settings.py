"""Arguments of a model beside a checkpoint's: what was not given is taken from it, what does not fit is refused."""

import inspect
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

# what only a training looks at: another value does no harm to a checkpoint, and one that goes on may be given another
TRAINING: Final = frozenset({"learning_rate", "train_images", "superpixel_folder", "pseudo_anomalies", "loss_weights"})
THRESHOLDS: Final = frozenset({"holdout", "false_alarm_rate"})  # fitted again where a training goes on
SCORE: Final = frozenset({"score_weights", "image_score", "smoothing"})  # what `rescore` changes


def settled(model: type, own: Mapping[str, Any], trained: Mapping[str, Any], resumed: bool = False) -> dict[str, Any]:
    """Return the arguments with which a model is built before it takes the weights of a checkpoint.

    A value that equals the signature's default counts as not given; the log says what was taken instead.

    Args:
        model: The class, whose signature has the defaults.
        own: Arguments of the model that loads.
        trained: Arguments in the checkpoint.
        resumed: Whether a training goes on from the checkpoint.

    Raises:
        ValueError: If a value was given that is not the checkpoint's and would change what it computes.
    """
    defaults = {name: default for name, default in defaults_of(model).items() if name in trained}
    result = {name: own.get(name, default) for name, default in defaults.items()}
    for name, default in defaults.items():
        now, then = (laid_over(default, value[name]) for value in (result, trained))
        if same(now, then):
            continue
        if same(now, default):
            result[name] = trained[name]
            rank_zero_info(
                f"{model.__name__}: {name} is {told(then)} from the checkpoint, not the default {told(now)}."
            )
        elif name == "loss_weights" and other_players(now, then):
            if resumed:
                raise ValueError(refusal(model, name, now, then))
            result[name] = trained[name]  # it has, or has not, weights of a discriminator
        elif name in TRAINING:
            result[name] = own[name]
        elif not (resumed and name in THRESHOLDS):
            raise ValueError(refusal(model, name, now, then))
    return result


def defaults_of(model: type) -> dict[str, Any]:
    """Return the arguments of a class and their defaults; those that it hands on to its bases with theirs."""
    found: dict[str, Any] = {}
    for base in model.__mro__:
        parameters = inspect.signature(base).parameters.values()
        found = {one.name: one.default for one in parameters if one.default is not one.empty} | found
        if all(one.kind is not one.VAR_KEYWORD for one in parameters):
            break
    return found


def refusal(model: type, name: str, now: Any, then: Any) -> str:
    """Return the sentence that says which argument does not fit a checkpoint, and what to do."""
    remedy = "leave it out, or train again"
    if name in SCORE | THRESHOLDS:
        remedy = "leave it out, or change the checkpoint with anomalib_stc.rescore, which fits its thresholds again"
    return f"{model.__name__} has {name} {told(now)}, but the checkpoint was trained with {told(then)}: {remedy}."


def laid_over(default: Any, value: Any) -> Any:
    """Return a value, a mapping laid over that of the defaults."""
    return {**default, **value} if isinstance(value, Mapping) and isinstance(default, Mapping) else value


def same(one: Any, other: Any) -> bool:
    """Return whether two arguments are the same."""
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return isinstance(one, Tensor) and isinstance(other, Tensor) and torch.equal(one, other)
    if isinstance(one, list | tuple) or isinstance(other, list | tuple):
        return sides(one) == sides(other)
    return bool(one == other)


def sides(value: Any) -> list[Any]:
    """Return height and width as a list, of one number for both too."""
    return list(value) if isinstance(value, list | tuple) else [value, value]


def other_players(now: Mapping[str, float], then: Mapping[str, float]) -> bool:
    """Return whether one of two mappings of losses has a discriminator and the other has none."""
    return bool(now["adversarial"]) != bool(then["adversarial"])


def told(value: Any) -> str:
    """Return a value as a sentence names it: a program by its size and the beginning of its hash."""
    if not isinstance(value, Tensor):
        return repr(value)
    return f"a program of {value.numel()} bytes (SHA-256 {sha256(value.numpy().tobytes()).hexdigest()[:8]}...)"

"""What a trainer's callbacks are asked for."""

from typing import Any, TypeVar

from lightning.pytorch.callbacks import Callback, Timer

Kind = TypeVar("Kind", bound=Callback)


def of_kind(trainer: Any, kind: type[Kind]) -> list[Kind]:
    """Return the trainer's callbacks of a class."""
    return [callback for callback in trainer.callbacks if isinstance(callback, kind)]


def time_limits(trainer: Any) -> list[Timer]:
    """Return the callbacks that end a fit by its time, as ``max_time`` does; some only take it."""
    return [timer for timer in of_kind(trainer, Timer) if timer.time_remaining() is not None]

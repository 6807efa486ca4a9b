"""A user's own pre- and post-processor beside a checkpoint: anomalib keeps their settings, not what they are."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from anomalib.data import AnomalibDataModule
from anomalib.post_processing import PostProcessor

from anomalib_stc.host.post_processor import NormalPostProcessor
from anomalib_stc.host.pre_processor import LOST, ExactPreProcessor
from anomalib_stc.parts.sizes import IMAGE_SIZE

OWN: Final = "anomalib_stc"  # where a checkpoint says what model and parts it had
REPLACED: Final = ("pre_processor", "post_processor")
CONFIG: Final = "anomalib_pre_processor_config"


def class_path(part: Any) -> str:
    """Return the full name of the class of a part; empty for none."""
    return "" if part is None else f"{type(part).__module__}.{type(part).__qualname__}"


def described(module: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint says of a model: its class, arguments, classes of parts, and images held out.

    The arguments stand there beside anomalib's, over which ``load_from_checkpoint`` lays those that it is given.
    """
    parts = {name: class_path(getattr(module, name)) for name in REPLACED}
    return {
        "model": class_path(module),
        "arguments": dict(arguments),
        "held_out": module.calibration.normals.mark,
        **parts,
    }


@contextmanager
def parts_of_checkpoint(module: Any, checkpoint: dict[str, Any]) -> Iterator[None]:
    """Give a model, and a run that has begun, the parts of a checkpoint, while anomalib restores their settings.

    Raises:
        ValueError: If a part was given that does not fit, or is missing.
    """
    check_pre_processor(module, checkpoint)
    before = parts_of(module)
    replace_post_processor(module, checkpoint)
    yield
    swap_callbacks(module._trainer, before, parts_of(module))
    resize_data(module._trainer)


def check_own(module: Any, checkpoint: dict[str, Any]) -> None:
    """Raise a `ValueError` unless a checkpoint is of this kind of model, and of this version of the package."""
    then = checkpoint.get(OWN, {}).get("model")
    if then is None or then.rsplit(".", 1)[-1] not in {base.__name__ for base in type(module).__mro__}:
        msg = (
            f"The checkpoint is of {then or 'no model of this version of anomalib-stc'}, expected one of "
            f"{type(module).__name__}: give another path, or another model."
        )
        raise ValueError(msg)


def check_pre_processor(module: Any, checkpoint: dict[str, Any]) -> None:
    """Raise a `ValueError` unless a model has the pre-processor of a checkpoint, or one that stands for none given."""
    usual = class_path(ExactPreProcessor())
    check_class(module.pre_processor, checkpoint[OWN]["pre_processor"], "pre_processor", {usual})
    config = checkpoint.get(CONFIG)
    if not isinstance(module.pre_processor, ExactPreProcessor) or config is None or LOST in config:
        return
    own = module.pre_processor.checkpoint_config()
    sizes = (IMAGE_SIZE, checkpoint["hyper_parameters"].get("image_size", IMAGE_SIZE))
    not_given = [module.configure_pre_processor(size).checkpoint_config() for size in sizes]
    if own not in (config, *not_given):
        msg = (
            f"{type(module).__name__} has a pre-processor with {told(own)}, but the checkpoint was trained with "
            f"{told(config)}: leave it out, or train again."
        )
        raise ValueError(msg)


def replace_post_processor(module: Any, checkpoint: dict[str, Any]) -> None:
    """Give a model a post-processor that can hold what the one of a checkpoint held.

    Raises:
        ValueError: If that was a user's own and is not given.
    """
    own, then = module.post_processor, checkpoint[OWN]["post_processor"]
    known = {class_path(part): part for part in (NormalPostProcessor(), PostProcessor())}
    check_class(own, then, "post_processor", set(known))
    if own is None or then in {"", class_path(own)}:
        return
    module.post_processor = known[then]
    module.post_processor.load_checkpoint_config(own.checkpoint_config())


def parts_of(module: Any) -> list[Any]:
    """Return the parts of a model that a trainer calls back."""
    return [module.pre_processor, module.post_processor, module.evaluator, module.visualizer]


def swap_callbacks(trainer: Any, before: list[Any], after: list[Any]) -> None:
    """Let a run that has begun call back the parts that a checkpoint brought, and not those it switched off."""
    for old, new in zip(before, after, strict=True):
        if trainer is not None and old is not new and old in trainer.callbacks:
            place = trainer.callbacks.index(old)
            trainer.callbacks[place : place + 1] = [] if new is None else [new]


def resize_data(trainer: Any) -> None:
    """Let a data module resize to the size that a checkpoint brought: it was set up before, with another.

    Otherwise images would be resized twice, and have other pixels than in training.
    """
    datamodule = getattr(trainer, "datamodule", None)
    if isinstance(datamodule, AnomalibDataModule):
        datamodule._update_augmentations()  # what its setup ends with


def check_class(own: Any, then: str, argument: str, known: set[str]) -> None:
    """Raise a `ValueError` if a part is of another class than a checkpoint's, and was given or cannot be made.

    Args:
        own: The part of the model that loads.
        then: Class of the checkpoint's part, empty for none.
        argument: The name of the part.
        known: Classes that can be made, with the settings of one another.
    """
    now = class_path(own)
    if now == then or (now in known and then in known | {""}):
        return
    if now in known:
        msg = f"The checkpoint was trained with a {then}, which it cannot hold: give one as {argument}."
    else:
        msg = (
            f"The {argument} is {now or 'False'}, but the checkpoint was trained with {then or 'none'}: leave it out, "
            "or train again."
        )
    raise ValueError(msg)


def told(config: dict[str, Any]) -> str:
    """Return transforms as a sentence names them."""
    transform = config["transform"] or {"init_args": {"transforms": []}}
    found = transform["init_args"]["transforms"]
    return ", ".join(f"{one['class_path'].rsplit('.', 1)[-1]} {one['init_args']}" for one in found) or "no transform"

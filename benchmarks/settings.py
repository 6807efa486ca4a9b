"""What the benchmark runs: a YAML file, changed by the command line."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

CONFIGS = Path(__file__).parent / "configs"
DEFAULT = CONFIGS / "default.yaml"
MODEL_DEFAULTS: dict[str, Any] = {"args": {}, "batch_size": 32, "max_epochs": None}
SHARED = ("data", "image_size", "holdout", "false_alarm_rate", "weather")  # of all runs
IMAGES = ("normals", "draw", "contamination", "set_aside")  # of all runs as well, where a model has not its own
LIKE = "like"  # in place of 'model': all that a model of the default has
STATISTIC = "statistic"  # the row without learning


def load(path: Path, changes: Mapping[str, Any]) -> DictConfig:
    """Return the settings of a file over those of `DEFAULT`, with changes by dotted name; ``None`` changes nothing.

    A file's models replace the default's, all else is merged.

    Raises:
        ValueError: If the file cannot be read, or holds an unknown name or a model that is not there.
    """
    if not path.is_file():
        shipped = ", ".join(sorted(file.name for file in CONFIGS.glob("*.yaml")))
        msg = f"There is no configuration {path}: {CONFIGS} has {shipped}."
        raise ValueError(msg)
    default, own = OmegaConf.load(DEFAULT), _read(path)
    if own.get("models"):
        own.models = {name: completed(spec, default.models) for name, spec in own.models.items()}
        default.models = {}
    OmegaConf.set_struct(default, value=True)
    OmegaConf.set_struct(default.models, value=False)
    try:
        settings: Any = OmegaConf.merge(default, own)
    except OmegaConfBaseException as error:
        msg = f"{path} does not fit: {str(error).splitlines()[0]}. Names are those of {DEFAULT.name}."
        raise ValueError(msg) from error
    for name, value in changes.items():
        if value is not None:
            OmegaConf.update(settings, name, value)
    check(settings)
    return settings


def completed(spec: Any, models: DictConfig) -> Any:
    """Return a model's settings over those of the default's model that it is like.

    Raises:
        ValueError: If there is no such model.
    """
    if not OmegaConf.is_dict(spec) or LIKE not in spec:
        return spec
    if spec[LIKE] not in models:
        msg = f"There is no model {spec[LIKE]} in {DEFAULT.name} to be like: it has {', '.join(models)}."
        raise ValueError(msg)
    return OmegaConf.merge(models[spec[LIKE]], {name: spec[name] for name in spec if name != LIKE})


def check(settings: DictConfig) -> None:
    """Raise a `ValueError` for the first value that cannot be run."""
    for name in ("seeds", "data.categories"):
        values = OmegaConf.select(settings, name)
        if not OmegaConf.is_list(values) or not values or len(set(values)) < len(values):
            msg = f"{name} is {values}, expected a list of different values: change it."
            raise ValueError(msg)
    if settings.jobs < 1:
        msg = f"jobs is {settings.jobs}, expected 1 or more: change it."
        raise ValueError(msg)
    if not 0 < settings.false_alarm_rate < 1:
        msg = f"false_alarm_rate is {settings.false_alarm_rate}, expected a share of the normals above 0: change it."
        raise ValueError(msg)
    check_images(settings)
    known = (*MODEL_DEFAULTS, *IMAGES)
    for name, spec in settings.models.items():
        if not OmegaConf.is_dict(spec) or "model" not in spec or set(spec) - {"model", *known}:
            msg = f"Model {name} is {spec}, expected 'model' and of {', '.join(known)} what it needs: change it."
            raise ValueError(msg)
        check_images(OmegaConf.merge({name: settings[name] for name in IMAGES}, spec))


def check_images(found: Any) -> None:
    """Raise a `ValueError` for a choice of images that is none."""
    if found.normals is not None and found.normals < 2:
        msg = f"normals is {found.normals}, expected null or 2 and more, one of them to be held out: change it."
        raise ValueError(msg)
    for name in ("contamination", "set_aside"):
        if not 0 <= found[name] <= 0.5:
            msg = f"{name} is {found[name]}, expected 0 to 0.5 of the training images: change it."
            raise ValueError(msg)


def for_run(shared: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run of a model needs of plain settings; what images it has may be the model's own."""
    return {name: shared[name] for name in SHARED} | {name: spec.get(name, shared[name]) for name in IMAGES}


def choose_models(settings: DictConfig, names: list[str] | None) -> DictConfig:
    """Keep the models named, in that order; ``None`` keeps all.

    Raises:
        ValueError: If one is not in the settings.
    """
    if names is None:
        return settings
    if unknown := sorted(set(names) - set(settings.models)):
        msg = f"There is no model {', '.join(unknown)} in the configuration: it has {', '.join(settings.models)}."
        raise ValueError(msg)
    settings.models = {name: settings.models[name] for name in names}
    return settings


def plain(settings: DictConfig) -> dict[str, Any]:
    """Return settings as plain data, models complete and categories without a last slash.

    ``${lite0:}`` stays: every run makes that folder for itself.
    """
    whole: Any = OmegaConf.to_container(settings, resolve=False)
    models = {name: {**MODEL_DEFAULTS, **spec} for name, spec in whole["models"].items()}
    categories = [PurePosixPath(name).as_posix() for name in whole["data"]["categories"]]
    return {**whole, "models": models, "data": {**whole["data"], "categories": categories}}


def _read(path: Path) -> DictConfig:
    try:
        own = OmegaConf.load(path)
    except Exception as error:  # yaml and omegaconf have many kinds; the user needs the file and the cause
        msg = f"{path} is no YAML: {error}."
        raise ValueError(msg) from error
    if not isinstance(own, DictConfig):
        msg = f"{path} is a list, expected names with values as in {DEFAULT.name}."
        raise ValueError(msg)
    return own

"""What the benchmark runs: a YAML file, changed by the command line."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

CONFIGS = Path(__file__).parent / "configs"
DEFAULT = CONFIGS / "default.yaml"
MODEL_DEFAULTS: dict[str, Any] = {"args": {}, "batch_size": 8, "max_epochs": None}
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
    for name, spec in settings.models.items():
        if not OmegaConf.is_dict(spec) or "model" not in spec or set(spec) - {"model", *MODEL_DEFAULTS}:
            msg = (
                f"Model {name} is {spec}, expected 'model' and of {', '.join(MODEL_DEFAULTS)} what it needs: change it."
            )
            raise ValueError(msg)


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

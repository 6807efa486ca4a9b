"""What the results were made from: command, commit, device, versions, hash of the images, settings."""

import json
import shlex
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from benchmarks.images import category_folder, fingerprint
from benchmarks.results import finished, write_atomically
from benchmarks.settings import plain

PACKAGES = ("anomalib-stc", "anomalib", "torch", "torchvision", "lightning", "timm", "openvino", "numpy")


def write_manifest(output: Path, settings: DictConfig, arguments: list[str]) -> None:
    """Write ``manifest.json``; of paths it keeps the last name, where they lie says nothing to others.

    Raises:
        ValueError: If the results there were made from other images under the same names.
    """
    config = plain(settings)
    path = output / "manifest.json"
    before = json.loads(path.read_text()) if path.is_file() else {}
    images = {name: fingerprint(category_folder(config["data"], name)) for name in config["data"]["categories"]}
    check_images(output, before.get("images", {}), images)
    manifest: dict[str, Any] = {
        "command": "python -m " + shlex.join(last_name(argument) for argument in arguments),
        "commit": also(before.get("commit"), commit()),
        "device": also(before.get("device"), device()),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name: also(before.get("versions", {}).get(name), version(name)) for name in PACKAGES},
        "images": {**before.get("images", {}), **images},
        "config": together(before.get("config"), last_names(config)),
    }
    write_atomically(path, json.dumps(manifest, indent=1) + "\n")


def also(before: str | None, now: str) -> str:
    """Return a list of names in words, with one more unless it is there: runs of a folder may be of several days."""
    return ", ".join(dict.fromkeys([*(before.split(", ") if before else []), now]))


def check_images(output: Path, before: dict[str, str], images: dict[str, str]) -> None:
    """Raise a `ValueError` if a category that has finished runs has other images now."""
    changed = [name for name, digest in images.items() if before.get(name, digest) != digest]
    if ran := [name for name in changed if any(finished(output / "runs" / name))]:
        msg = f"The images of {', '.join(ran)} are not those of the results in {output}: choose another --output."
        raise ValueError(msg)


def together(before: dict[str, Any] | None, now: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of all runs in a folder, whose first model stays the first.

    Raises:
        ValueError: If they do not fit together: one table must not hold figures of two image sizes.
    """
    if before is None:
        return now
    for name in ("image_size", "holdout", "false_alarm_rate"):
        if before.get(name) != now[name]:
            msg = f"The results there have {name} {before.get(name)}, now it is {now[name]}: choose another --output."
            raise ValueError(msg)
    models, seeds = {**before["models"], **now["models"]}, sorted({*before["seeds"], *now["seeds"]})
    categories = list(dict.fromkeys([*before["data"]["categories"], *now["data"]["categories"]]))
    return {**now, "models": models, "seeds": seeds, "data": {**now["data"], "categories": categories}}


def last_names(config: Any) -> Any:
    """Return settings with the last name only of every absolute path in them."""
    if isinstance(config, dict):
        return {key: last_names(value) for key, value in config.items()}
    if isinstance(config, list):
        return [last_names(value) for value in config]
    return last_name(config) if isinstance(config, str) else config


def last_name(argument: str) -> str:
    """Return the last name of a path that leads out of here, also in ``--name=path``; anything else as it is."""
    name, equals, value = argument.rpartition("=")
    path = Path(value.removeprefix("local-dir:"))
    return name + equals + path.name if path.is_absolute() or ".." in path.parts else argument


def device() -> str:
    """Return the accelerator that runs are trained on, of a CUDA device the name; CPU without one."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    found = torch.accelerator.current_accelerator()
    return (found.type if found else "cpu").upper()


def commit() -> str:
    """Return the commit of this checkout, with a plus where files differ from it."""
    here = Path(__file__).parent
    try:
        head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=here, text=True).strip()
        changed = subprocess.check_output(["git", "status", "--porcelain", "-uno"], cwd=here, text=True).strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changed else "")

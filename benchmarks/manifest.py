"""What the results were made from: command, commit, versions, hash of the images, settings."""

import json
import shlex
import subprocess
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from benchmarks.images import category_folder, fingerprint
from benchmarks.results import write_atomically
from benchmarks.settings import plain

PACKAGES = ("anomalib-stc", "anomalib", "torch", "torchvision", "lightning", "timm", "openvino", "numpy")


def write_manifest(output: Path, settings: DictConfig, arguments: list[str]) -> None:
    """Write ``manifest.json``; of paths it keeps the last name, where they lie says nothing to others.

    Raises:
        ValueError: If the results there were made from other images under the same names.
    """
    config = plain(settings)
    images = {name: fingerprint(category_folder(config["data"], name)) for name in config["data"]["categories"]}
    before = previous_images(output / "manifest.json")
    if changed := [name for name, digest in images.items() if before.get(name, digest) != digest]:
        msg = f"The images of {', '.join(changed)} are not those of the results in {output}: choose another --output."
        raise ValueError(msg)
    config["data"]["root"] = Path(config["data"]["root"]).name
    config["output"] = Path(config["output"]).name
    manifest: dict[str, Any] = {
        "command": "python -m benchmarks " + shlex.join(last_name(argument) for argument in arguments),
        "commit": commit(),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": {package: version(package) for package in PACKAGES},
        "images": {**before, **images},
        "config": config,
    }
    write_atomically(output / "manifest.json", json.dumps(manifest, indent=1) + "\n")


def last_name(argument: str) -> str:
    """Return an absolute path's last name, anything else as it is."""
    return Path(argument).name if Path(argument).is_absolute() else argument


def previous_images(path: Path) -> dict[str, str]:
    """Return the hashes of the images of earlier runs, by category."""
    return json.loads(path.read_text())["images"] if path.is_file() else {}


def commit() -> str:
    """Return the commit of this checkout, with a plus where files differ from it."""
    here = Path(__file__).parent
    try:
        head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=here, text=True).strip()
        changed = subprocess.check_output(["git", "status", "--porcelain", "-uno"], cwd=here, text=True).strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changed else "")

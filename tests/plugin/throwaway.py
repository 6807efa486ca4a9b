"""Throw-away environments that see the installed host, but not this checkout's own installation."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "programs"
HOOK = "_anomalib_models_autoload"
OWN = ("anomalib_stc", "_editable_impl_anomalib_stc", HOOK, "__pycache__")


def link_host(folder: Path) -> Path:
    """Fill the folder with links to the installed packages, without this one and without start-up files."""
    for entry in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if entry.suffix not in {".pth", ".start"} and not entry.name.startswith(OWN):
            (folder / entry.name).symlink_to(entry)
    return folder


class Environment:
    """A virtual environment whose packages are the host's by a path line, which runs no nested start-up files."""

    def __init__(self, folder: Path, host: Path) -> None:
        venv.EnvBuilder(symlinks=True).create(folder)
        self.host = host
        self.python = folder / "bin" / "python"
        self.site = next((folder / "lib").iterdir()) / "site-packages"
        (self.site / "host.pth").write_text(f"{host}\n")

    def pip(self, *arguments: str) -> None:
        """Run this interpreter's pip on the environment, without index and without build environment."""
        command = [sys.executable, "-m", "pip", "--python", str(self.python), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=clean(), check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def install(self, *what: str) -> None:
        self.pip("install", "--no-deps", "--no-index", "--no-build-isolation", *what)

    def run(self, *arguments: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the environment's Python in a folder; a failure shows its output."""
        command = [str(self.python), *map(str, arguments)]
        done = subprocess.run(
            command, capture_output=True, text=True, env=clean() | variables, cwd=cwd, check=False, timeout=300
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done

    def facts(self, *arguments: str | Path, cwd: Path, **variables: str) -> dict:
        """Run a program and return the JSON of its last line, with its standard error under ``stderr``."""
        done = self.run(*arguments, cwd=cwd, **variables)
        return json.loads(done.stdout.splitlines()[-1]) | {"stderr": done.stderr}

    def add_package(self, name: str, entries: dict[str, str], **modules: str) -> None:
        """Put a package with entry points and a few modules into the environment."""
        info = self.site / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"{entry} = {value}" for entry, value in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(["[anomalib.models]", *lines, ""]))
        package = self.site / name
        package.mkdir()
        (package / "__init__.py").touch()
        for module, code in modules.items():
            (package / f"{module}.py").write_text(code)


def clean() -> dict[str, str]:
    """Return the environment variables without those that change what Python or the hook load."""
    dropped = ("PYTHON", "COV_", "COVERAGE", "ANOMALIB_STC", "VIRTUAL_ENV")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    return kept | {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "NO_COLOR": "1", "HF_HUB_OFFLINE": "1"}

"""Every run of the settings, one process each: what is finished stays, what is killed leaves nothing that counts."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, product
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf
from rich.progress import Progress

from benchmarks.images import check_category
from benchmarks.manifest import write_manifest
from benchmarks.results import finished, run_folder, write_table
from benchmarks.settings import IMAGES, SHARED, STATISTIC, for_run, plain

CHECKOUT = Path(__file__).parents[1]
OTHERWISE = "{} was run with other settings: choose another --output, or remove that folder."


class Run(NamedTuple):
    """One model on one category with one seed."""

    folder: Path
    job: dict[str, Any]

    @property
    def finished(self) -> bool:
        """Whether it was run before; a folder gets its name only when all is in it."""
        return (self.folder / "row.json").is_file()

    @property
    def partial(self) -> Path:
        """The folder's name until all is in it."""
        return self.folder.with_name(self.folder.name + ".partial")

    @property
    def log(self) -> Path:
        """What a run that did not finish wrote."""
        return self.partial / "log.txt"


def run_all(settings: DictConfig, arguments: list[str]) -> list[Run]:
    """Do all runs that are not finished, write the table after each, and return those that failed.

    Raises:
        ValueError: If a category has no images, or a finished run was made with other settings.
    """
    output = Path(settings.output)
    runs = list(planned(settings))
    check_same(settings)
    check_weather(runs)
    with alone_in(output):
        write_manifest(output, settings, ["benchmarks", *arguments])
        waiting = [run for run in runs if not run.finished]
        print(f"{len(runs) - len(waiting)} of {len(runs)} runs are finished already; results go to {output}")
        return [run for run, done in executed(waiting, settings.jobs, output) if not done]


@contextmanager
def alone_in(output: Path) -> Iterator[None]:
    """Keep a second runner out of a folder of results; the lock goes with the process.

    Raises:
        ValueError: If there is one already, or the folder cannot be made.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        with (output / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
    except BlockingIOError as error:
        msg = f"Another benchmark runs in {output}: wait for it, or choose another --output."
        raise ValueError(msg) from error
    except FileExistsError as error:
        msg = f"{output} is a file, expected a folder for the results: choose another --output."
        raise ValueError(msg) from error


def executed(waiting: list[Run], jobs: int, output: Path) -> Iterator[tuple[Run, bool]]:
    """Do runs, those that are timed first and alone; yield each with whether it succeeded, the table up to date."""
    waiting = sorted(waiting, key=lambda run: not run.job["latency"])
    alone = sum(run.job["latency"] for run in waiting)
    with Progress() as progress, ThreadPoolExecutor(jobs) as pool:
        bar = progress.add_task("runs", total=len(waiting))
        for run, done in zip(waiting, chain(map(execute, waiting[:alone]), late(pool, waiting[alone:])), strict=True):
            write_table(output)
            progress.update(bar, advance=1, description="{set} {model} {seed}".format(**run.job))
            yield run, done


def late(pool: ThreadPoolExecutor, waiting: list[Run]) -> Iterator[bool]:
    """Yield the outcome of runs, started together only when the first is asked for."""
    yield from pool.map(execute, waiting)


def planned(settings: DictConfig) -> Iterator[Run]:
    """Yield all runs: every category, seed and model; only the first of a model measures its latency."""
    shared = plain(settings)
    output, data = Path(shared["output"]), shared["data"]
    timed = {STATISTIC}
    for category in data["categories"]:
        check_category(data, category, shared["holdout"])
        for seed, (model, spec) in product(shared["seeds"], models(shared).items()):
            if model == STATISTIC and seed != shared["seeds"][0]:
                continue  # there is nothing random in it
            job = {"set": category, "model": model, "seed": seed, "spec": spec, "latency": model not in timed}
            job |= for_run(shared, spec)
            yield Run(run_folder(output, category, model, seed), job | {"threads": job_threads(job, shared)})
            timed.add(model)


def models(shared: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the models with their settings, and the statistic where it is wanted."""
    return shared["models"] | ({STATISTIC: {"batch_size": 8}} if shared["statistic"] else {})


def job_threads(job: dict[str, Any], shared: dict[str, Any]) -> int | None:
    """Return the threads of a run: all for one that is timed, which runs alone."""
    return None if job["latency"] else shared["threads"]


def check_same(settings: DictConfig) -> None:
    """Raise a `ValueError` if a finished run of a model, on any set, was made otherwise than it would be now.

    A table has one line for a model: all its runs have to be of one kind.
    """
    shared = plain(settings)
    specs = models(shared)
    for row in finished(Path(shared["output"]) / "runs"):
        before = job_of(row.parent)
        if before["model"] not in specs:
            continue
        spec = specs[before["model"]]
        now = {"spec": spec, **for_run(shared, spec)}
        if relevant(before) != relevant(now):
            raise ValueError(OTHERWISE.format(row.parent))


def job_of(folder: Path) -> Any:
    """Return the job that a run had."""
    return OmegaConf.to_container(OmegaConf.load(folder / "job.yaml"), resolve=False)


def check_weather(runs: list[Run]) -> None:
    """Raise a `ValueError` if a finished run lacks the weather; one that has it unasked is right."""
    for run in runs:
        if run.finished and run.job["weather"] and not job_of(run.folder).get("weather"):
            raise ValueError(OTHERWISE.format(run.folder))


def relevant(job: Any) -> dict[str, Any]:
    """Return what of a job decides its figures: not which set and seed, or where the root lies.

    Nor whether the weather was measured too.
    """
    kept = {name: job.get(name) for name in ("spec", *SHARED, *IMAGES) if name not in {"data", "weather"}}
    return {**kept, "layout": job["data"]["layout"], "folder": job["data"]["folder"]}


def execute(run: Run) -> bool:
    """Do one run; say whether it succeeded. Its folder has another name until all is in it."""
    shutil.rmtree(run.partial, ignore_errors=True)
    run.partial.mkdir(parents=True)
    OmegaConf.save(OmegaConf.create(run.job), run.partial / "job.yaml")
    done = process(run.partial, environment(run))
    if not done or not (run.partial / "row.json").is_file():  # Lightning ends with 0 when it is told to stop
        return False
    for bulky in ("engine", "weights", "exported"):
        shutil.rmtree(run.partial / bulky, ignore_errors=True)
    run.partial.rename(run.folder)
    return True


def process(folder: Path, environment: dict[str, str]) -> bool:
    """Do the job of a folder in a process of its own, with its log beside it; say whether it succeeded."""
    with (folder / "log.txt").open("w") as log:
        command = [sys.executable, "-m", "benchmarks.one", str(folder), str(os.getpid())]
        return subprocess.run(command, stdout=log, stderr=log, env=environment, check=False).returncode == 0


def environment(run: Run) -> dict[str, str]:
    """Return the environment of a run: threads, this checkout, and memory that PatchCore gives back to the system."""
    threads = run.job["threads"]
    limits = {} if threads is None else {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    frugal = {"MALLOC_MMAP_THRESHOLD_": "1048576"} if run.job["spec"].get("model") == "patchcore" else {}
    here = {"PYTHONPATH": os.pathsep.join([str(CHECKOUT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}
    return {**os.environ, **limits, **frugal, **here}

"""Compares the files of a run that was broken with those of one that was not.

Weights, optimiser states and counters must be equal, and all other files equal byte by byte. Times and memory differ
between any two runs, and logs have more lines after a second start: they are left out.
"""

import fnmatch
import json
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from weightdistill import checkpoint
from weightdistill.errors import DistillationError

LOGS = ("*.log", ".lock", "tensorboard/*", ".snakemake/*")
"""What is not compared in any run."""
TEMPORARY = ("*.tmp", ".*.tmp/*")
"""What may lie on a disk that breaks while it is written. The repeated command removes it."""
MEASURED = {
    *("seconds", "peak_memory", "previous_training_time", "metrics", "cumulative_training_time"),
    *("distributed_init_method", "lr_scheduler_state", "sha256", "source_sha256", "teacher_fingerprint"),
}
"""Keys of checkpoints and JSON files that are not compared: times, memory, the port over which processes meet, the
SHA-256 of a checkpoint with times in it, and the best loss that a scheduler has seen. fairseq forgets that loss when it
resumes at the end of an epoch; inverse_sqrt does not read it."""


def tree(folder: Path, ignored: tuple[str, ...]) -> dict[str, Path]:
    """All files below a folder by their relative path, but for logs and those that match a pattern."""
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if not path.is_dir()}
    patterns = (*LOGS, *ignored)
    return {name: path for name, path in files.items() if not _matches(name, patterns)}


def differences(unbroken: Path, broken: Path, ignored: tuple[str, ...] = ()) -> list[str]:
    """Name what differs between two finished runs, in words; nothing if they are equal."""
    first, second = tree(unbroken, ignored), tree(broken, ignored)
    found = [f"{name} is missing" for name in first.keys() - second.keys()]
    found += [f"{name} is left over" for name in second.keys() - first.keys()]
    for name in sorted(first.keys() & second.keys()):
        found += [f"{name}: {where}" for where in _different(first[name], second[name])]
    return sorted(found)


def half_written(unbroken: Path, stopped: Path, ignored: tuple[str, ...] = ()) -> list[str]:
    """Name the files of a run that failed which are not whole.

    A checkpoint or a JSON file of an earlier update is whole when it can be read. Any other file must be the one of the
    finished run.
    """
    finished, found = tree(unbroken, ignored), []
    for name, path in tree(stopped, (*ignored, *TEMPORARY)).items():
        if path.suffix == ".pt":
            try:
                checkpoint.read(path)
            except DistillationError as error:
                found.append(f"{name}: {error}")
        elif path.suffix == ".json":
            try:
                json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                found.append(f"{name}: {error}")
        elif name not in finished:
            found.append(f"{name} is left over")
        elif any(_different(finished[name], path)):
            found.append(f"{name} is half written")
    return found


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(name, f"*/{pattern}") for pattern in patterns)


def _different(first: Path, second: Path) -> Iterator[str]:
    if first.suffix == ".pt":
        yield from _values(checkpoint.read(first), checkpoint.read(second), "")
    elif first.suffix == ".json":
        yield from _values(json.loads(first.read_bytes()), json.loads(second.read_bytes()), "")
    elif first.suffix == ".safetensors":  # whose metadata has another order in each file
        yield from _values(_safetensors(first), _safetensors(second), "")
    elif first.read_bytes() != second.read_bytes():
        yield f"{first.stat().st_size} bytes and {second.stat().st_size} bytes differ"


def _safetensors(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        return {"metadata": file.metadata(), **{name: file.get_tensor(name) for name in file.keys()}}  # noqa: SIM118


def _values(first: Any, second: Any, place: str) -> Iterator[str]:
    if isinstance(first, Namespace):
        first, second = vars(first), vars(second)
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for key in first.keys() | second.keys():
            if key not in MEASURED:
                one, other = first.get(key), second.get(key)
                if key == "optimizer_history" and one and other:  # one entry for each start; the last one holds
                    one, other = one[-1:], other[-1:]
                yield from _values(one, other, f"{place}/{key}")
    elif isinstance(first, list | tuple) and isinstance(second, list | tuple) and len(first) == len(second):
        for index, (one, other) in enumerate(zip(first, second, strict=True)):
            yield from _values(one, other, f"{place}/{index}")
    elif isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        if first.dtype != second.dtype or not torch.equal(first, second):
            yield f"{place}: the tensors differ"
    elif type(first) is not type(second) or first != second:
        yield f"{place}: {str(first)[:60]!r} and {str(second)[:60]!r}"

"""Reads and writes checkpoints; no other module does.

Reading never runs code from the file, and writing never leaves half a file behind. Knows the outer form of a fairseq
checkpoint (`model`, and `cfg` or `args`), not the meaning of its weights.
"""

import argparse
import errno
import os
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from weightdistill.errors import DistillationError
from weightdistill.files import first_line, writing


class _Meter:
    """Stands for the meters of a training, which fairseq up to 0.9 stored as objects."""


# fairseq stores settings in a Namespace and, with --eval-bleu, counts in numpy arrays, whose module has had two names.
# Neither contains executable code. They are declared for the whole process: at its end, torch's context manager would
# also forbid them where fairseq itself loads checkpoints.
_REBUILD: dict[str, Any] = {"_reconstruct": np.array(0).__reduce__()[0], "scalar": np.float64(0).__reduce__()[0]}
torch.serialization.add_safe_globals(
    [
        argparse.Namespace,
        np.ndarray,
        np.dtype,
        *(type(np.dtype(name)) for name in ("bool", "int32", "int64", "float32", "float64")),
        *((_REBUILD[name], f"numpy.{core}.multiarray.{name}") for core in ("core", "_core") for name in _REBUILD),
        *((_Meter, f"fairseq.meters.{name}") for name in ("AverageMeter", "StopwatchMeter", "TimeMeter")),
    ]
)


def read(path: str | Path, *, lazily: bool = False) -> dict[str, Any]:
    """Read a fairseq checkpoint onto the CPU. Only plain data, arrays and `Namespace` are unpickled.

    Args:
        path: The file.
        lazily: Map the tensors into memory, so that tensors that are not used are not read.

    Raises:
        DistillationError: The file is missing, truncated, not a fairseq checkpoint, or contains objects that could run
            code; or its weights are no tensors, or its settings or states no mappings.
    """
    path = Path(path)
    if not os.path.isfile(path):  # also of a loop of links or a name that is too long
        raise DistillationError(f"checkpoint {path} does not exist; give the path of a fairseq checkpoint (.pt)")
    if _is_safetensors(path):
        raise DistillationError(
            f"checkpoint {path} must have weights and settings, but is in the safetensors format, which has weights "
            "only; give the fairseq checkpoint (.pt) that it was made from"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged files, which end in one line
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=lazily and zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        reason = str(error)
        if "Unsupported operand" not in reason and ("Unsupported" in reason or "GLOBAL" in reason):
            raise DistillationError(
                f"checkpoint {path} must hold only tensors and settings, but holds other objects, which could run code "
                f"when loaded: {first_line(reason, 'Unsupported', 'GLOBAL')}; use a checkpoint that fairseq wrote"
            ) from error
        reason = first_line(reason, "Unsupported operand").rpartition("error: ")[2]  # torch 2.6 asks for a report first
        raise DistillationError(
            f"checkpoint {path} must be a PyTorch file, but is none ({reason}); give the path of a fairseq checkpoint "
            "(.pt)"
        ) from error
    except Exception as error:  # damaged files make torch's unpickler fail in a dozen ways, including AssertionError
        raise DistillationError(
            f"checkpoint {path} cannot be read; it is truncated or not a PyTorch file ({first_line(str(error))}); "
            "copy or train it again"
        ) from error
    if not isinstance(state, dict) or not isinstance(state.get("model"), Mapping):
        raise DistillationError(
            f"checkpoint {path} has no `model` entry, so it was not written by fairseq; give a fairseq checkpoint"
        )
    if not isinstance(state.get("cfg") or state.get("args"), Mapping | argparse.Namespace):
        raise DistillationError(
            f"checkpoint {path} has neither `cfg` nor `args`, so it was not written by fairseq; give a fairseq "
            "checkpoint"
        )
    _require_plain(state, path)
    (state.get("extra_state") or {}).pop("train_meters", None)
    return state


def _is_safetensors(path: Path) -> bool:
    """Say whether a file begins like the safetensors format: 8 bytes with the length of the JSON that follows."""
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError:  # reading it says why
        return False
    return head.endswith(b"{") and len(head) == 9 and int.from_bytes(head[:8], "little") < path.stat().st_size


def _require_plain(state: Mapping[str, Any], path: Path) -> None:
    """Check that a checkpoint's weights are tensors, and its settings and states mappings."""
    for name, weight in state["model"].items():
        if not isinstance(name, str) or not isinstance(weight, Tensor):
            raise DistillationError(
                f"checkpoint {path}: weights must be tensors with names, but {name!r} is of type "
                f"{type(weight).__name__}; give a checkpoint that fairseq wrote"
            )
        if weight.layout != torch.strided or weight.is_quantized or weight.is_meta or weight.is_complex():
            raise DistillationError(
                f"checkpoint {path}: weights must be dense real tensors, but {name} is sparse, quantised, complex or "
                "empty; give a checkpoint that fairseq wrote"
            )
    try:
        settings = plain({"cfg": state.get("cfg"), "args": state.get("args")})
    except RecursionError as error:
        raise DistillationError(
            f"checkpoint {path} has settings that are nested too deeply; give a checkpoint that fairseq wrote"
        ) from error
    groups = settings["cfg"] or {}
    for name, group in (*groups.items(), ("args", settings["args"])):
        if name in ("model", "task", "args") and not isinstance(group, dict | None):
            raise DistillationError(
                f"checkpoint {path}: the settings {name} must be a mapping, but are of type {type(group).__name__}; "
                "give a checkpoint that fairseq wrote"
            )
    for name in ("extra_state", "task_state"):
        if not isinstance(entry := state.get(name), dict | None):
            raise DistillationError(
                f"checkpoint {path}: {name} must be a mapping, but is of type {type(entry).__name__}; give a "
                "checkpoint that fairseq wrote"
            )


def model_config(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the model settings of a checkpoint, old (`args`) or new (`cfg.model`), as a flat dictionary."""
    config = plain(state.get("cfg") or {})
    return dict(config.get("model") or _upgraded(plain(state.get("args")) or {}))


def task_config(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the task's settings as a flat dictionary, old (`args`) or new (`cfg.task`).

    The task's name is `_name` in both.
    """
    if recorded := plain(state.get("cfg") or {}).get("task"):
        return dict(recorded)
    config = model_config(state)
    return {**config, "_name": config.get("task")}


def _upgraded(args: dict[str, Any]) -> dict[str, Any]:
    """Convert settings that old versions of fairseq recorded in another form; see its `_upgrade_state_dict`."""
    args = {name: value == "True" if value in ("True", "False") else value for name, value in args.items()}
    if isinstance(args.get("data"), list):
        args["data"] = args["data"][0] if args["data"] else None
    if longest := args.pop("max_positions", None):
        args = {"max_source_positions": longest, "max_target_positions": longest, **args}
    return args


def require_finite(state: Mapping[str, Any], name: str | Path) -> None:
    """Check that no weight of a checkpoint is infinite or not a number.

    Args:
        state: The checkpoint.
        name: Its path, for the error message.

    Raises:
        DistillationError: One is; the message names the first and counts all.
    """
    if broken := not_finite(state["model"]):
        raise DistillationError(
            f"the weights of {name} must be finite, but {broken[0]} holds NaN or infinity ({len(broken)} of "
            f"{len(state['model'])} weights do); its training diverged: use an earlier checkpoint"
        )


def not_finite(weights: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the weights that hold NaN or infinity."""
    return [
        name
        for name, weight in weights.items()
        if weight.is_floating_point()
        and not name.endswith("embed_positions._float_tensor")  # whose content fairseq leaves to chance
        and not weight.isfinite().all()
    ]


def plain(value: Any) -> Any:
    """Convert settings to nested dictionaries, lists, strings and numbers, which can be loaded without any class."""
    if isinstance(value, argparse.Namespace):
        return plain(vars(value))
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(entry) for entry in value]
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def fingerprint_tensor(fingerprint: str) -> Tensor:
    """Convert a SHA-256 in hexadecimal digits to a tensor of bytes (32,), which a checkpoint can hold."""
    return torch.tensor(list(bytes.fromhex(fingerprint)), dtype=torch.int64)


def fingerprint_text(fingerprint: Tensor) -> str:
    """Convert a tensor of bytes (32,) to a SHA-256 in hexadecimal digits."""
    return bytes(fingerprint.tolist()).hex()


def write(state: Mapping[str, Any], path: str | Path) -> None:
    """Write a checkpoint under a temporary name, then rename it.

    Raises:
        DistillationError: The folder is not writable or the disk is full; nothing is left behind.
    """
    with writing(path) as temporary:
        serialise(state, temporary)


def serialise(state: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint directly to a path; to be used within `files.writing`.

    Raises:
        OSError: The file could not be written.
    """
    try:
        with path.open("wb") as file:  # given a path, torch stores its name, and equal states give different files
            torch.save(dict(state), file)
    except RuntimeError as error:  # torch's error for a full disk
        raise OSError(errno.EIO, str(error)) from error


def write_safetensors(
    weights: Mapping[str, Tensor], path: str | Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write only the weights, in the safetensors format. A tied weight is stored under each of its names.

    Args:
        weights: The weights by name.
        path: The file.
        metadata: Text to store beside them.

    Raises:
        DistillationError: The folder is not writable or the disk is full; nothing is left behind.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with writing(path) as temporary:
        try:
            tensors = {name: weight.detach().clone().contiguous() for name, weight in weights.items()}
            temporary.touch()
            mode = temporary.stat().st_mode  # safetensors makes a file that only its owner can read
            save_file(tensors, temporary, {"format": "pt", **(metadata or {})})
            temporary.chmod(mode)
        except SafetensorError as error:  # not an OSError, even if the disk is full
            raise OSError(errno.EIO, str(error)) from error

"""The one place that reads checkpoints, and the one that writes them.

Reading never runs code from the file; writing never leaves half a file behind. Knows the outer form of a fairseq
checkpoint (`model`, and `cfg` or `args`), not what its weights mean.
"""

import argparse
import errno
import pickle
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

# fairseq keeps settings in a Namespace and, with --eval-bleu, counts in numpy arrays, whose module has had two names.
# Neither holds anything that could run. Declared for the whole process, since torch's context manager would withdraw
# the permission from fairseq's own loading when it ends.
_REBUILD: dict[str, Any] = {"_reconstruct": np.array(0).__reduce__()[0], "scalar": np.float64(0).__reduce__()[0]}
torch.serialization.add_safe_globals(
    [
        argparse.Namespace,
        np.ndarray,
        np.dtype,
        *(type(np.dtype(name)) for name in ("bool", "int32", "int64", "float32", "float64")),
        *((_REBUILD[name], f"numpy.{core}.multiarray.{name}") for core in ("core", "_core") for name in _REBUILD),
    ]
)


def read(path: str | Path, *, lazily: bool = False) -> dict[str, Any]:
    """Read a fairseq checkpoint onto the CPU without unpickling anything but plain data, arrays and `Namespace`.

    Args:
        path: The file.
        lazily: Map the tensors into memory, so that those that nobody looks at are never read.

    Raises:
        DistillationError: the file is missing, truncated, no fairseq checkpoint, or holds anything that would run code.
    """
    path = Path(path)
    if not path.is_file():
        raise DistillationError(f"checkpoint {path} does not exist; give the path of a fairseq checkpoint (.pt)")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=lazily and zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        reason = str(error)
        if "Unsupported" in reason or "GLOBAL" in reason:
            raise DistillationError(
                f"checkpoint {path} holds objects other than tensors and settings and was not loaded, since loading "
                f"them could run code: {first_line(reason, 'Unsupported', 'GLOBAL')}"
            ) from error
        raise DistillationError(f"checkpoint {path} is not a PyTorch file: {first_line(reason)}") from error
    except Exception as error:  # damaged files end torch's unpickler in any of a dozen ways, AssertionError included
        raise DistillationError(
            f"checkpoint {path} cannot be read, it is truncated or not a PyTorch file ({first_line(str(error))}); "
            "copy or train it again"
        ) from error
    if not isinstance(state, dict) or not isinstance(state.get("model"), Mapping):
        raise DistillationError(f"checkpoint {path} has no `model` entry; it was not written by fairseq")
    if not isinstance(state.get("cfg") or state.get("args"), Mapping | argparse.Namespace):
        raise DistillationError(f"checkpoint {path} has neither `cfg` nor `args`; it was not written by fairseq")
    return state


def model_config(state: Mapping[str, Any]) -> dict[str, Any]:
    """The model's settings of a checkpoint, of either generation (`cfg.model` or `args`), as a flat dictionary."""
    config = plain(state.get("cfg") or {})
    model = config.get("model") or plain(state.get("args")) or {}
    return dict(model)


def plain(value: Any) -> Any:
    """The same settings as dictionaries, lists, strings and numbers all the way down, which load without any class."""
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
    """A SHA-256 in hexadecimal digits as a tensor (32,) of bytes, the form that a checkpoint can hold."""
    return torch.tensor(list(bytes.fromhex(fingerprint)), dtype=torch.int64)


def fingerprint_text(fingerprint: Tensor) -> str:
    """The reverse of :func:`fingerprint_tensor`."""
    return bytes(fingerprint.tolist()).hex()


def write(state: Mapping[str, Any], path: str | Path) -> None:
    """Write a checkpoint under a temporary name, then rename it.

    Raises:
        DistillationError: the folder cannot be written or the disk is full; nothing is left behind.
    """
    with writing(path) as temporary:
        serialise(state, temporary)


def serialise(state: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint in place; for use within `writing`.

    Raises:
        OSError: the file could not be written.
    """
    try:
        with path.open("wb") as file:  # given a path, torch writes its name into the file, and equal states differ
            torch.save(dict(state), file)
    except RuntimeError as error:  # what torch makes of a full disk
        raise OSError(errno.EIO, str(error)) from error


def write_safetensors(weights: Mapping[str, Tensor], path: str | Path) -> None:
    """Write weights alone in the safetensors format; a tied weight is stored under each of its names.

    Raises:
        DistillationError: as `write`.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with writing(path) as temporary:
        try:
            save_file({name: weight.detach().clone().contiguous() for name, weight in weights.items()}, temporary)
        except SafetensorError as error:  # not an OSError, even where the disk is full
            raise OSError(errno.EIO, str(error)) from error

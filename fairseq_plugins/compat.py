"""What stock fairseq needs in order to load and resume its own checkpoints with today's torch, and to be distilled.

- torch >= 2.6 loads with weights_only=True and refuses the `argparse.Namespace` in fairseq's checkpoints. Declaring
  that one class safe, as `weightdistill.checkpoint` does, keeps loading safe.
- fairseq copies a finished checkpoint to `checkpoint_last.pt` in place: a process that is killed meanwhile leaves half
  a file, from which nothing resumes. And when a disk is full it leaves its temporary file there, and tries again at the
  end of it. Here checkpoints are written and copied as all files of ours, with the training's peak memory in them.
  (Where the optional package iopath is installed, fairseq writes through that, and this does not apply.)
- fairseq 0.12.2 (no earlier or later release) keeps every encoder layer's matrices a second time, as Parameters that
  are never trained, for a fast path in eval mode. They would count twice, and a student's weights would not reach
  them: here its layers are built and loaded without, and take the usual path. Stock fairseq makes the copies again
  when it loads.
- With several processes the first one reads a checkpoint and sends it to the others by torch.save and torch.load, and
  the latter refuses fairseq's settings. torch's own way of sending objects between the processes of a training does it.
- fairseq takes --bf16 for an order to train on a TPU, and crashes without one. Its trainer does well with bfloat16 on
  a GPU or CPU, when it is not told so.
"""

import functools
import importlib.util
import shutil
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from fairseq import checkpoint_utils, distributed
from fairseq.file_io import IOPathManager, PathManager
from fairseq.modules.transformer_layer import TransformerEncoderLayerBase
from torch import nn

from fairseq_plugins.training_record import peak_memory
from weightdistill import checkpoint, files  # declares argparse.Namespace safe
from weightdistill.method.layout import is_copy


def apply() -> None:
    """Put the second to the fourth in place; may be called more than once. Importing this module did the first."""
    distributed.utils._broadcast_object_slow = _broadcast
    if IOPathManager is None:
        PathManager.copy = staticmethod(_copy)
        checkpoint_utils.torch_persistent_save = _save
    loading = TransformerEncoderLayerBase._load_from_state_dict
    if loading not in (nn.Module._load_from_state_dict, _load_without_copies):
        TransformerEncoderLayerBase.__init__ = _without_copies(TransformerEncoderLayerBase.__init__)
        TransformerEncoderLayerBase._load_from_state_dict = _load_without_copies


def no_tpu(args: Namespace) -> None:
    """Take --bf16 for a precision, not for a device, where there is no TPU; for the architectures to call."""
    if importlib.util.find_spec("torch_xla") is None and hasattr(args, "tpu"):
        args.tpu = False


def _without_copies(build: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(build)
    def build_without_copies(layer: nn.Module, *args: Any, **named_args: Any) -> None:
        build(layer, *args, **named_args)
        layer._parameters.clear()  # all else that the layer holds belongs to modules below it

    return build_without_copies


def _load_without_copies(layer: nn.Module, state: dict[str, Any], prefix: str, *args: Any) -> None:
    for name in [name for name in state if name.startswith(prefix) and is_copy(name)]:
        del state[name]
    nn.Module._load_from_state_dict(layer, state, prefix, *args)


def _broadcast(value: Any, src_rank: int, group: Any, dist_device: torch.device) -> Any:
    values = [value]
    torch.distributed.broadcast_object_list(values, src=src_rank, group=group, device=dist_device)
    return values[0]


def _save(state: dict[str, Any], filename: str, async_write: bool = False) -> None:
    """`checkpoint_utils.torch_persistent_save` for local files; those of `--write-checkpoints-asynchronously` too."""
    if "extra_state" in state:
        state["extra_state"]["peak_memory"] = peak_memory()
    with files.writing(filename, Path(f"{filename}.tmp")) as temporary:
        checkpoint.serialise(state, temporary)


def _copy(source: str, destination: str, overwrite: bool = False) -> bool:
    """`PathManager.copy` for local files, such that the destination is never half written."""
    with files.writing(destination, Path(f"{destination}.tmp")) as temporary:
        shutil.copyfile(source, temporary)
    return True

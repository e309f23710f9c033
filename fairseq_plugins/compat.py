"""What stock fairseq needs to load and resume its checkpoints with present versions of torch, and to be distilled.

1. torch >= 2.6 loads with weights_only=True and refuses the `argparse.Namespace` in fairseq's checkpoints.
   `weightdistill.checkpoint` declares that class safe, which keeps loading safe.
2. fairseq copies a finished checkpoint to `checkpoint_last.pt` in place. A process that is killed meanwhile leaves half
   a file, from which nothing resumes; on a full disk it leaves its temporary file behind and tries again, and on a
   read-only one it ends with a traceback. Here checkpoints are written and copied beside their place and then renamed,
   with the training's peak memory in them, and it is known before that they can be.
   Where the optional package iopath is installed, fairseq writes through that, and this does not apply.
3. fairseq 0.12.2 (no earlier or later release) keeps the matrices of every encoder layer twice. The copies are
   Parameters that are never trained, for a fast path in eval mode. They would count twice, and a student's weights
   would not reach them. Here layers are built and loaded without copies, and take the usual path. Stock fairseq makes
   the copies again when it loads.
4. With several processes, the first reads a checkpoint and sends it to the rest by torch.save and torch.load, which
   refuses fairseq's settings. torch.distributed.broadcast_object_list does not.
5. fairseq reads a dictionary in another encoding or a damaged index of binarised data with a traceback, and a cut one
   without the sentences that are missing. Here both are checked first.
6. fairseq >= 0.12.3 seeds the composition of batches with the epoch in which their iterator is made, and keeps that
   iterator. A training that resumes in a later epoch would see different batches from an unbroken one. Here each epoch
   makes its own, with any task.
7. fairseq takes --bf16 for an order to train on a TPU, and crashes without one. Told nothing of a TPU, its trainer
   handles bfloat16 on a GPU or CPU.
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
from fairseq.data import Dictionary, indexed_dataset
from fairseq.file_io import IOPathManager, PathManager
from fairseq.modules.transformer_layer import TransformerEncoderLayerBase
from fairseq.tasks import FairseqTask
from torch import nn

from fairseq_plugins.training_record import peak_memory
from weightdistill import checkpoint, files  # declares argparse.Namespace safe
from weightdistill.errors import DistillationError
from weightdistill.experiment.binarised import require_whole_index
from weightdistill.method.layout import is_copy
from weightdistill.text import coverage


def apply() -> None:
    """Put points 2 to 6 in place. May be called more than once; importing this module is enough for point 1."""
    distributed.utils._broadcast_object_slow = _broadcast
    if indexed_dataset.make_dataset is not _make_checked_dataset:
        Dictionary.add_from_file = _adding_checked_file(Dictionary.add_from_file)
        indexed_dataset.make_dataset = _make_checked_dataset
    FairseqTask.can_reuse_epoch_itr = lambda task, dataset: False
    if IOPathManager is None:
        PathManager.copy = staticmethod(_copy)
        checkpoint_utils.torch_persistent_save = _save
        checkpoint_utils.verify_checkpoint_directory = _require_writable
    loading = TransformerEncoderLayerBase._load_from_state_dict
    if loading not in (nn.Module._load_from_state_dict, _load_without_copies):
        TransformerEncoderLayerBase.__init__ = _without_copies(TransformerEncoderLayerBase.__init__)
        TransformerEncoderLayerBase._load_from_state_dict = _load_without_copies


def no_tpu(args: Namespace) -> None:
    """Take --bf16 for a precision, not for a device, where there is no TPU. Architectures call this (point 6).

    Args:
        args: options of the training, changed in place.
    """
    if importlib.util.find_spec("torch_xla") is None and hasattr(args, "tpu"):
        args.tpu = False


def _without_copies(build: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(build)
    def build_without_copies(layer: nn.Module, *args: Any, **named_args: Any) -> None:
        build(layer, *args, **named_args)
        layer._parameters.clear()  # the copies; all else that the layer holds belongs to the modules in it

    return build_without_copies


def _load_without_copies(layer: nn.Module, state: dict[str, Any], prefix: str, *args: Any) -> None:
    for name in [name for name in state if name.startswith(prefix) and is_copy(name)]:
        del state[name]
    nn.Module._load_from_state_dict(layer, state, prefix, *args)


def _adding_checked_file(add: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(add)
    def add_checked_file(dictionary: Dictionary, file: Any) -> None:
        if not isinstance(file, str):
            return add(dictionary, file)
        coverage.read_dictionary(file)
        try:
            add(dictionary, file)
        except Exception as error:  # e.g. of a piece that every dictionary has, such as <unk>
            raise DistillationError(f"{file} is no dictionary of fairseq: {files.first_line(str(error))}") from error

    return add_checked_file


_make_dataset = indexed_dataset.make_dataset


def _make_checked_dataset(path: str, impl: str, *args: Any, **named_args: Any) -> Any:
    """Replace `indexed_dataset.make_dataset`."""
    if impl in ("mmap", "cached", "lazy") and indexed_dataset.IndexedDataset.exists(path):
        require_whole_index(Path(f"{path}.idx"))
    return _make_dataset(path, impl, *args, **named_args)


def _broadcast(value: Any, src_rank: int, group: Any, dist_device: torch.device) -> Any:
    values = [value]
    torch.distributed.broadcast_object_list(values, src=src_rank, group=group, device=dist_device)
    return values[0]


def _save(state: dict[str, Any], filename: str, async_write: bool = False) -> None:
    """Replace `checkpoint_utils.torch_persistent_save`; also with `--write-checkpoints-asynchronously`."""
    if "extra_state" in state:
        state["extra_state"]["peak_memory"] = peak_memory()
    with files.writing(filename, Path(f"{filename}.tmp")) as temporary:
        checkpoint.serialise(state, temporary)


def _require_writable(folder: str) -> None:
    """Replace `checkpoint_utils.verify_checkpoint_directory`."""
    files.require_writable(Path(folder) / "checkpoint_last.pt")


def _copy(source: str, destination: str, overwrite: bool = False) -> bool:
    """Replace `PathManager.copy`; the destination is never half written."""
    with files.writing(destination, Path(f"{destination}.tmp")) as temporary:
        shutil.copyfile(source, temporary)
    return True

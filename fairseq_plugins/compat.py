"""What stock fairseq needs in order to load and resume its own checkpoints with today's torch.

- torch >= 2.6 loads with weights_only=True and refuses the `argparse.Namespace` in fairseq's checkpoints. Declaring
  that one class safe keeps loading safe.
- fairseq copies a finished checkpoint to `checkpoint_last.pt` in place: a process that is killed meanwhile leaves half
  a file, from which nothing resumes. Copying beside it and renaming leaves the old file or the new one.
"""

import argparse
import os
import shutil

import torch
from fairseq.file_io import IOPathManager, PathManager


def apply() -> None:
    """Put both in place; may be called more than once."""
    torch.serialization.add_safe_globals([argparse.Namespace])
    if IOPathManager is None:
        PathManager.copy = staticmethod(_copy)


def _copy(source: str, destination: str, overwrite: bool = False) -> bool:
    """`PathManager.copy` for local files, such that the destination is never half written."""
    temporary = f"{destination}.tmp"
    shutil.copyfile(source, temporary)
    os.replace(temporary, destination)
    return True

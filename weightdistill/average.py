"""Averages the weights of checkpoints of one training.

    python -m weightdistill.average OUTPUT CHECKPOINT...

The settings are those of the last one; the optimiser's state is left out. Knows nothing about models.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from weightdistill import checkpoint
from weightdistill.errors import DistillationError


def average(paths: Sequence[str | Path]) -> dict[str, Any]:
    """The last checkpoint with the mean of all weights, summed in float32 at least and stored in the weights' own type.

    Weights that are not floating-point numbers are the last checkpoint's.

    Raises:
        DistillationError: no checkpoint, one that cannot be read, or one whose weights have other names or shapes.
    """
    if not paths:
        raise DistillationError("an average needs at least one checkpoint; give their paths")
    sums: dict[str, torch.Tensor] = {}
    state: dict[str, Any] = {}
    for path in tqdm(paths, "averaging", unit="checkpoint", disable=None):
        state = checkpoint.read(path)
        weights = {name: weight for name, weight in state["model"].items() if weight.is_floating_point()}
        if sums and {name: sums[name].shape for name in sums} != {name: weights[name].shape for name in weights}:
            different = {
                name
                for name in sums.keys() | weights.keys()
                if name not in sums or name not in weights or sums[name].shape != weights[name].shape
            }
            raise DistillationError(
                f"checkpoints must hold the same weights, but {path} differs from {paths[0]} in {len(different)}, "
                f"e.g. {min(different)}; average checkpoints of one training"
            )
        for name, weight in weights.items():
            exact = weight.to(torch.promote_types(weight.dtype, torch.float32))
            sums[name] = sums[name] + exact if name in sums else exact.clone()
    means: dict[object, torch.Tensor] = {}  # tied weights stay one
    for name, total in sums.items():
        last = state["model"][name]
        place = last.untyped_storage().data_ptr(), last.storage_offset(), last.shape, last.stride()
        state["model"][name] = means.setdefault(place, (total / len(paths)).to(last.dtype))
    state.pop("last_optimizer_state", None)
    return state


def main(arguments: list[str]) -> None:
    """Write the average of checkpoints; unusable input ends with one line on standard error and exit code 1."""
    match arguments:
        case [output, *paths] if paths:
            try:
                checkpoint.write(average(paths), output)
            except DistillationError as error:
                sys.exit(f"average: {error}")
            print(f"wrote {output}: the average of {len(paths)} checkpoints")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])

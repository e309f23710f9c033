"""Proves on real batches that exported models give the logits of the model that they came from."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from fairseq import utils
from fairseq.models import BaseFairseqModel
from fairseq.tasks.translation import TranslationTask
from torch import Tensor
from tqdm import tqdm

from fairseq_plugins.loading import random_batches
from weightdistill.errors import DistillationError

logger = logging.getLogger(__name__)

TOLERANCE = 1e-5
"""Largest difference of a logit, in float32, that an export may show."""

Logits: TypeAlias = Callable[[Mapping[str, Any]], Tensor]
"""Computes logits (batch, target, words) from the `net_input` of one of fairseq's batches."""


@dataclass(frozen=True)
class Candidate:
    """An exported model to compare.

    Attributes:
        form: What errors call it.
        logits: Computes its logits.
        scaled: Multiply the tolerance by the largest logit, if that is above 1. For a model that computes the same in
            another order: float32 then rounds otherwise, in proportion to the logits.
    """

    form: str
    logits: Logits
    scaled: bool = False


def fairseq_logits(model: BaseFairseqModel) -> Logits:
    """Return the function that computes a fairseq model's logits."""
    return lambda inputs: model(**inputs)[0]


@torch.no_grad()
def prove(
    model: BaseFairseqModel, candidates: list[Candidate], task: TranslationTask, subset: str, count: int, name: str
) -> float:
    """Compare the logits of a model and of what was exported from it, wherever the target is no padding.

    Args:
        model: The model.
        candidates: What was exported.
        task: Loads the batches.
        subset: Split that they are from.
        count: How many, of at most 4,096 tokens.
        name: What to call the model in errors.

    Returns:
        The largest difference.

    Raises:
        DistillationError: Logits differ by more than TOLERANCE, or there is no batch.
    """
    reference = fairseq_logits(model)
    longest = utils.resolve_max_positions(task.max_positions(), model.max_positions())
    logits: list[Tensor] = []
    differences: dict[str, list[Tensor]] = {candidate.form: [] for candidate in candidates}
    for batch in tqdm(_batches(task, subset, count, longest), "proof", total=count, unit="batch", disable=None):
        inputs = batch["net_input"]
        kept = inputs["prev_output_tokens"].ne(task.target_dictionary.pad())
        expected = reference(inputs)[kept]
        logits.append(expected.abs().max())
        for candidate in candidates:
            differences[candidate.form].append((candidate.logits(inputs)[kept] - expected).abs().max())
    if not logits:
        raise DistillationError("there is no batch to check the export on; give a --subset that is not empty")
    for candidate in candidates:
        difference = float(torch.stack(differences[candidate.form]).max())
        tolerance = TOLERANCE * max(1.0, float(torch.stack(logits).max()) if candidate.scaled else 1.0)
        if not difference <= tolerance:  # also when it is not a number
            raise DistillationError(
                f"export of {name} as {candidate.form}: logits must agree within {tolerance:.3g}, but differ by "
                f"{difference:.3g}; nothing was written"
            )
    return float(torch.stack([value for values in differences.values() for value in values]).max())


def _batches(task: TranslationTask, subset: str, count: int, longest: Any) -> Iterator[dict[str, Any]]:
    if not any(Path(task.cfg.data).glob("*.idx")):
        logger.warning("%s holds no binarised data: the export is checked on random sentences", task.cfg.data)
        yield from random_batches(task, count)
        return
    try:
        task.load_dataset(subset)
    except FileNotFoundError as error:
        raise DistillationError(
            f"{task.cfg.data} has no subset {subset!r} to check the export on ({error}); give another with --subset"
        ) from error
    iterator = task.get_batch_iterator(
        task.dataset(subset), max_tokens=4096, max_positions=longest, ignore_invalid_inputs=True
    ).next_epoch_itr(shuffle=False)
    for _, batch in zip(range(count), iterator, strict=False):
        yield batch

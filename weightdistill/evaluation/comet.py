"""Scores of single translations by a COMET model (Rei et al., 2020), if its package is there."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from weightdistill.errors import DistillationError


def require_comet(model: Path) -> Any:
    """COMET's package, where it and the checkpoint of a model are there.

    Raises:
        DistillationError: one is not.
    """
    try:
        import comet
    except ImportError as error:
        raise DistillationError("COMET needs the package unbabel-comet; install it, or leave the metric out") from error
    if not model.is_file():
        raise DistillationError(f"{model}: no such file; COMET needs the checkpoint of a model")
    return comet


def segment_scores(
    systems: Sequence[Sequence[str]], references: Sequence[Sequence[str]], sources: Sequence[str], model: Path
) -> tuple[list[Any], str]:
    """Score every translation of every system.

    Args:
        systems: translations of each, in the order of the sources.
        references: one or several translations of the same sources.
        sources: what was translated.
        model: checkpoint of the model.

    Returns:
        For each system an array (sentences,) of scores times 100, means over the references; and a signature.

    Raises:
        DistillationError: the package or the checkpoint is not there.
    """
    comet = require_comet(model)
    loaded = comet.load_from_checkpoint(str(model))
    scores = []
    for translations in systems:
        of_references = []
        for reference in references:
            data = [{"src": s, "mt": t, "ref": r} for s, t, r in zip(sources, translations, reference, strict=True)]
            of_references.append(loaded.predict(data, batch_size=16, gpus=int(torch.cuda.is_available())).scores)
        scores.append(100 * np.mean(of_references, axis=0))
    return scores, f"nrefs:{len(references)}|model:{model.stem}|version:{comet.__version__}"

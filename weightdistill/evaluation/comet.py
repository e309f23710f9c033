"""Segment scores of a COMET model (Rei et al., 2020), if its package is installed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from weightdistill.errors import DistillationError


def require_comet(model: Path) -> Any:
    """Import COMET's package, and check that the model exists.

    Args:
        model: Checkpoint of the model.

    Returns:
        The package.

    Raises:
        DistillationError: The package is not installed, or the checkpoint does not exist.
    """
    try:
        import comet
    except ImportError as error:
        raise DistillationError("COMET needs the package unbabel-comet; install it, or leave out the metric") from error
    if not model.is_file():
        raise DistillationError(f"COMET needs the checkpoint of a model, but {model} does not exist; give its path")
    return comet


def segment_scores(
    systems: Sequence[Sequence[str]], references: Sequence[Sequence[str]], sources: Sequence[str], model: Path
) -> tuple[list[Any], str]:
    """Score every translation of every system.

    Args:
        systems: Translations of each system, in the order of the sources.
        references: One or several reference translations of the sources.
        sources: Source sentences.
        model: Checkpoint of the model.

    Returns:
        An array (sentences,) for each system, with scores times 100, averaged over the references; and a signature.

    Raises:
        DistillationError: The package is not installed, or the checkpoint does not exist.
    """
    comet = require_comet(model)
    import torch  # a second's work, which scores without COMET do not need

    loaded = comet.load_from_checkpoint(str(model))
    scores = []
    for translations in systems:
        by_reference = []
        for reference in references:
            data = [{"src": s, "mt": t, "ref": r} for s, t, r in zip(sources, translations, reference, strict=True)]
            by_reference.append(loaded.predict(data, batch_size=16, gpus=int(torch.cuda.is_available())).scores)
        scores.append(100 * np.mean(by_reference, axis=0))
    return scores, f"nrefs:{len(references)}|model:{model.stem}|version:{comet.__version__}"

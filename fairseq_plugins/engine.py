"""Chooses the engine that a model needs; CTranslate2's needs no fairseq, which is not imported for it."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

from weightdistill.decoding.engines import CTranslate2Engine, Engine, vocabulary
from weightdistill.errors import DistillationError

if TYPE_CHECKING:
    from fairseq_plugins.fairseq_engine import FairseqEngine


def open_engine(
    model: Path, data: Path | None = None, threads: int | None = None, vocabulary_map: bool | Path = True
) -> Engine:
    """Load a model with the engine for its format.

    Args:
        model: a CTranslate2 folder, or a fairseq checkpoint.
        data: folder with the dictionaries of a fairseq checkpoint; None for the one that it was trained on.
        threads: CPU threads; None for the engine's default.
        vocabulary_map: whether a CTranslate2 model uses its vocabulary map, or the map that it uses instead.

    Raises:
        DistillationError: the path is neither, or the engine cannot load it.
    """
    if model.is_dir():
        if not (model / "model.bin").is_file():
            raise DistillationError(f"{model} holds no model.bin; give a CTranslate2 folder or a fairseq checkpoint")
        return CTranslate2Engine(model, threads, vocabulary_map)
    from fairseq_plugins.fairseq_engine import FairseqEngine  # whose imports take seconds

    return FairseqEngine(model, data, threads)


def source_words(engine: Engine) -> frozenset[str]:
    """Return the pieces that a model of `open_engine` knows in sources."""
    if isinstance(engine, CTranslate2Engine):
        return frozenset(vocabulary(Path(engine.name), "source"))
    return cast("FairseqEngine", engine).source_words

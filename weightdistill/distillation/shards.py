"""Shards of a teacher's translations: independent parts of a corpus, which several machines may decode.

A shard is a text file. Its first line says how it was decoded; each further line holds the hypotheses of one source.
Knows subword pieces and engines; neither datasets nor training.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from weightdistill.decoding.engines import SEEDS, Engine, Hypothesis, Pieces, Search
from weightdistill.errors import DistillationError
from weightdistill.files import decode_lines, fingerprint, parse_json, reading, writing

_CHUNK = 8192
"""Sentences per call of an engine, which sorts them by length and distributes them over its GPUs."""


def shard_of(lines: int, number: int, shards: int) -> range:
    """Return the lines of one shard. The sizes of the shards differ by at most one.

    Args:
        lines: Number of lines of the corpus.
        number: Number of the shard, from 0.
        shards: Number of shards.

    Raises:
        DistillationError: There is no such shard.
    """
    if not 0 <= number < shards:
        raise DistillationError(f"shard must be within 0 and {shards - 1}, but is {number}")
    return range(lines * number // shards, lines * (number + 1) // shards)


def decode_shard(
    engine: Engine,
    sources: Sequence[Pieces],
    path: Path,
    settings: Search,
    provenance: Mapping[str, Any],
    progress: Callable[[int], object] = lambda sentences: None,
    first: int = 0,
) -> bool:
    """Decode one shard into a file. An existing file with the same settings is kept.

    Samples depend on the seed and the place of the shard in the corpus, not on what was decoded before it.

    Args:
        engine: The teacher.
        sources: The sources of the shard. One that is too long for the teacher gets no hypotheses.
        path: File to write.
        settings: Settings of the search.
        provenance: What else identifies the shard: the teacher, the source file and the lines.
        progress: Called with the number of sentences that were finished since the last call.
        first: Number of the shard's first source in the corpus, from 0.

    Returns:
        True if the shard was decoded, False if its file existed.

    Raises:
        DistillationError: The existing file has other settings, the file cannot be written, or the engine fails.
    """
    head = {**provenance, **_described(settings), "sentences": len(sources)}
    if path.exists():
        existing, _ = read_shard(path)
        if different := _first_difference(existing, head):
            raise DistillationError(
                f"{path} must have been decoded with {different} {head.get(different)}, but has "
                f"{existing.get(different)}; remove it, or name another folder"
            )
        progress(len(sources))
        return False
    with writing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(json.dumps(head) + "\n")
        for start in range(0, len(sources), _CHUNK):
            chunk = sources[start : start + _CHUNK]
            # A single over-long line must not stop the decoding of millions.
            readable = [source if len(source) <= engine.longest_source else [] for source in chunk]
            for hypotheses in engine.search(readable, _seeded(settings, first + start)):
                file.write(json.dumps(hypotheses, ensure_ascii=False) + "\n")
            progress(len(chunk))
    return True


def read_shard(path: Path) -> tuple[dict[str, Any], list[list[Hypothesis]]]:
    """Read a shard: how it was decoded, and the hypotheses of each source.

    Raises:
        DistillationError: The file is missing, damaged or incomplete.
    """
    remedy = "remove it and decode this shard again"
    with reading(path, "decode this shard") as file:
        lines = [parse_json(line, path, remedy) for line in decode_lines(file, path)]
    try:
        head, *hypotheses = lines[0], *map(_hypotheses, lines[1:])
        sentences = head["sentences"]
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise DistillationError(f"{path} is damaged; {remedy}") from error
    if len(hypotheses) != sentences:
        raise DistillationError(
            f"{path} must have {sentences} sentences, but has {len(hypotheses)}; remove it and decode this shard again"
        )
    return head, hypotheses


def _hypotheses(entries: Sequence[Any]) -> list[Hypothesis]:
    """Return the hypotheses of one source as they were written.

    Raises:
        TypeError or ValueError: They were not written so.
    """
    hypotheses = [Hypothesis(*entry) for entry in entries]
    for pieces, score, _ in hypotheses:
        if not isinstance(pieces, list) or not all(isinstance(piece, str) for piece in pieces):
            raise TypeError("pieces must be strings")
        float(score)
    return hypotheses


def read_shards(paths: Sequence[Path], sentences: int) -> Iterator[tuple[dict[str, Any], list[list[Hypothesis]]]]:
    """Read the shards of a corpus one at a time.

    Args:
        paths: The shards, in order.
        sentences: Number of sources of the corpus.

    Yields:
        What all shards have in common, and the hypotheses of each source of this shard.

    Raises:
        DistillationError: See `read_shard`; or the shards were decoded differently or do not cover the corpus.
    """
    total = 0
    common: dict[str, Any] = {}
    for path in paths:
        head, hypotheses = read_shard(path)
        decoding = {key: value for key, value in head.items() if key not in ("lines", "sentences")}
        if common and (different := _first_difference(decoding, common)):
            raise DistillationError(
                f"all shards must have the same {different}, but {path} has {decoding.get(different)} and {paths[0]} "
                f"{common.get(different)}; remove one and decode it again"
            )
        common = decoding
        total += len(hypotheses)
        yield common, hypotheses
    if total != sentences:
        raise DistillationError(
            f"the shards must have the {sentences} sentences of the source, but have {total}; decode all shards"
        )


def source_provenance(source: Path, model: Path, monolingual: Path | None = None) -> dict[str, Any]:
    """Describe what a decoding depends on: paths and SHA-256 of the teacher and the sources, and the engine.

    Args:
        source: The file of sources.
        model: The teacher: a CTranslate2 folder or a fairseq checkpoint.
        monolingual: The file of sources without references, if any.

    Raises:
        DistillationError: A file cannot be read.
    """
    vocabularies = sorted(model.glob("*vocabulary*")) if model.is_dir() else []
    return {
        "teacher": str(model),
        "teacher_sha256": fingerprint(model / "model.bin" if model.is_dir() else model),
        **{f"{file.stem}_sha256": fingerprint(file) for file in vocabularies},
        "source": str(source),
        "source_sha256": fingerprint(source),
        **({"sources": str(monolingual), "sources_sha256": fingerprint(monolingual)} if monolingual else {}),
        "engine": "ctranslate2" if model.is_dir() else "fairseq",
    }


def _described(settings: Search) -> dict[str, Any]:
    """Return the settings that the translations depend on."""
    if settings.sampling is None:
        return {"beam": settings.beam, "n_best": settings.n_best, "length_penalty": settings.length_penalty}
    return {
        "samples": settings.sampling.samples,
        "sampling_top_k": settings.sampling.top_k,
        "sampling_temperature": settings.sampling.temperature,
        "seed": settings.sampling.seed,
    }


def _seeded(settings: Search, number: int) -> Search:
    """Return the settings with another seed for each place in the corpus, of which the sentence has this number."""
    if settings.sampling is None:
        return settings
    seed = (settings.sampling.seed + number) % SEEDS
    return replace(settings, sampling=replace(settings.sampling, seed=seed))


def _first_difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> str | None:
    """Return the first key in which two decodings differ. Paths may differ if the contents are equal."""
    keys = [key for key in {**first, **second} if key not in ("teacher", "source", "sources")]
    return next((key for key in keys if first.get(key) != second.get(key)), None)

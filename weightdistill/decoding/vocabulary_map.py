"""Vocabulary maps: for each source piece, the target pieces that its translations use.

With a map (`vmap.txt` in a CTranslate2 model's folder), the output layer scores only the candidates of a batch's source
pieces, not the whole vocabulary. Maps are counted in a parallel corpus that eflomal aligns. eflomal is a program of its
own (GPL-3): it is called, never imported, and only making a map needs it.
"""

import os
import shutil
import subprocess
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from weightdistill.decoding.engines import Pieces
from weightdistill.decoding.translation import read_pieces
from weightdistill.errors import DistillationError
from weightdistill.files import first_line, writing

ALIGNER = "eflomal-align"
HELD_OUT = 100
"""Every HELD_OUT-th pair is not counted; these pairs show how much of new text a map covers."""


@dataclass(frozen=True)
class MapSettings:
    """What a vocabulary map keeps of the counts.

    Raises:
        DistillationError: A value is out of range.
    """

    candidates: int = 20
    """Most candidates per source piece, the most frequent first."""
    least: int = 2
    """Alignments with the source piece that a candidate needs: rarer ones are mostly errors of the aligner."""
    common: int = 2000
    """The most frequent target pieces, which are candidates of every sentence."""
    pairs: int = 1_000_000
    """Most sentence pairs to align, evenly spaced in the corpus. Time and memory grow with them."""

    def __post_init__(self) -> None:
        for field, value in vars(self).items():
            if value < 1:
                raise DistillationError(f"{field} must be at least 1, but is {value}")


@dataclass(frozen=True)
class VocabularyMap:
    """Candidates of every sentence, and of each source piece."""

    common: list[str]
    candidates: dict[str, list[str]]

    def of_sentence(self, source: Pieces) -> set[str]:
        """Return the target pieces that the translation of a sentence may use."""
        return {*self.common, *(piece for key in source for piece in self.candidates.get(key, ()))}

    def write(self, path: str | Path) -> None:
        """Write the map in CTranslate2's format: a source piece, a tab, and its candidates separated by blanks.

        The line without a source piece holds the candidates of every sentence.

        Raises:
            DistillationError: The file cannot be written.
        """
        with writing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
            for key, pieces in [("", self.common), *sorted(self.candidates.items())]:
                file.write(f"{key}\t{' '.join(pieces)}\n")


@dataclass(frozen=True)
class Coverage:
    """How much of new text a map covers."""

    pairs: int
    """Sentence pairs that were not counted for the map."""
    pieces: float
    """Share of their target pieces that are candidates of their sentence."""
    sentences: float
    """Share of their target sentences all of whose pieces are."""
    candidates: float
    """Mean number of candidates per sentence."""


def make_map(source: Path, target: Path, settings: MapSettings) -> tuple[VocabularyMap, Coverage]:
    """Align a parallel corpus and count the target pieces of each source piece.

    Args:
        source: Source pieces, one sentence per line.
        target: Their translations, as the model's target pieces.
        settings: What the map keeps.

    Returns:
        The map, and what it covers of every HELD_OUT-th pair.

    Raises:
        DistillationError: The files cannot be used, or eflomal is missing or fails.
    """
    sources, targets = read_pieces(source), read_pieces(target)
    if len(sources) != len(targets):
        raise DistillationError(
            f"source and target must have the same number of lines, but {source} has {len(sources)} and {target} has "
            f"{len(targets)}; give the two sides of one corpus"
        )
    step = -(-len(sources) // settings.pairs)
    pairs = [(sources[index], targets[index]) for index in range(0, len(sources), step)]
    pairs = [pair for pair in pairs if all(pair)]
    if len(pairs) < 2:
        raise DistillationError(f"{source} and {target} have too few pairs of sentences that are not empty")
    held_out = pairs[HELD_OUT - 1 :: HELD_OUT] or pairs[-1:]
    counted = [pair for index, pair in enumerate(pairs) if index % HELD_OUT != HELD_OUT - 1]
    vocabulary_map = count_map(counted, align(counted), settings)
    return vocabulary_map, coverage(vocabulary_map, held_out)


def aligner() -> str | None:
    """Find eflomal's program: its path, or None where it is not installed."""
    return shutil.which(ALIGNER, path=os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")]))


def align(pairs: Sequence[tuple[Pieces, Pieces]]) -> Iterator[set[tuple[int, int]]]:
    """Align sentence pairs by eflomal in both directions.

    Args:
        pairs: Source and target pieces.

    Yields:
        The links of each pair: positions of a source and a target piece that either direction links.

    Raises:
        DistillationError: eflomal is not installed, or fails.
    """
    if (program := aligner()) is None:
        raise DistillationError(
            "a vocabulary map needs the aligner eflomal, which is not installed; run `pip install eflomal` (it needs a "
            "C compiler)"
        )
    with tempfile.TemporaryDirectory() as folder:
        names = ("source", "target", "forward", "reverse")
        source, target, forward, reverse = (Path(folder) / name for name in names)
        for path, side in ((source, 0), (target, 1)):
            path.write_text("".join(" ".join(pair[side]) + "\n" for pair in pairs), encoding="utf-8", newline="\n")
        options = {"-s": source, "-t": target, "-f": forward, "-r": reverse}
        command = [program, *(str(part) for option in options.items() for part in option)]
        environment = {**os.environ, "PYTHONUTF8": "1"}
        result = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment)
        if result.returncode != 0 or not (forward.exists() and reverse.exists()):
            raise DistillationError(
                f"eflomal failed with exit code {result.returncode}: {first_line(result.stderr, 'Error', 'ERROR')}"
            )
        with forward.open(encoding="utf-8") as links, reverse.open(encoding="utf-8") as reverse_links:
            for line, reverse_line in zip(links, reverse_links, strict=True):
                numbers = (link.split("-") for link in [*line.split(), *reverse_line.split()])
                yield {(int(first), int(second)) for first, second in numbers}


def count_map(
    pairs: Iterable[tuple[Pieces, Pieces]], links: Iterable[set[tuple[int, int]]], settings: MapSettings
) -> VocabularyMap:
    """Count the target pieces that are linked to each source piece.

    A source piece is a candidate of its own where the target side has it, too: names and numbers are copied.

    Args:
        pairs: Source and target pieces.
        links: Positions of linked pieces, for each pair.
        settings: What the map keeps.
    """
    frequencies: Counter[str] = Counter()
    linked: dict[str, Counter[str]] = {}
    for (source, target), of_pair in zip(pairs, links, strict=True):
        frequencies.update(target)
        for piece in source:
            linked.setdefault(piece, Counter())
        for first, second in of_pair:
            linked[source[first]][target[second]] += 1
    common = [piece for piece, _ in _ordered(frequencies)[: settings.common]]
    always = set(common)
    candidates = {}
    for piece, counts in linked.items():
        kept = [translation for translation, count in _ordered(counts) if count >= settings.least]
        copy = [piece] if piece in frequencies else []
        rare = [translation for translation in dict.fromkeys([*copy, *kept]) if translation not in always]
        if rare:
            candidates[piece] = rare[: settings.candidates]
    return VocabularyMap(common, candidates)


def coverage(vocabulary_map: VocabularyMap, pairs: Sequence[tuple[Pieces, Pieces]]) -> Coverage:
    """Measure how much of a text a map covers, sentence by sentence.

    Args:
        vocabulary_map: The map.
        pairs: Source and target pieces, at least one pair.
    """
    candidates = [vocabulary_map.of_sentence(source) for source, _ in pairs]
    covered = [sum(piece in known for piece in target) for known, (_, target) in zip(candidates, pairs, strict=True)]
    lengths = [len(target) for _, target in pairs]
    return Coverage(
        pairs=len(pairs),
        pieces=sum(covered) / sum(lengths),
        sentences=sum(map(int.__eq__, covered, lengths)) / len(pairs),
        candidates=sum(map(len, candidates)) / len(pairs),
    )


def _ordered(counts: Counter[str]) -> list[tuple[str, int]]:
    """The most frequent first; equally frequent ones in the order of their characters."""
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))

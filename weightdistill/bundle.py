"""Translates raw text, with a bundle: a folder that holds a CTranslate2 model and the text processing that it needs.

    from weightdistill.bundle import Bundle
    for translation in Bundle("DIR").translate(["A dog runs.", "Two dogs sleep."]):
        print(translation)

Needs neither torch nor fairseq.
"""

import itertools
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from weightdistill.decoding.engines import LONGEST_OUTPUT, CTranslate2Engine, Engine, Pieces, Search
from weightdistill.decoding.translation import CHUNK, translate_all
from weightdistill.errors import DistillationError
from weightdistill.text.processing import TextProcessing

LONGEST_PART = LONGEST_OUTPUT * 3 // 4
"""A line of more pieces is translated in parts: a translation ends after LONGEST_OUTPUT pieces."""
_CLOSING = "\"'\u201d\u2019\u00bb)\\]"
_SENTENCE_END = re.compile(rf"(?<=[.!?\u2026])\s+|(?<=[.!?\u2026][{_CLOSING}])\s+|(?<=[\u3002\uff01\uff1f])(?=.)")


class Bundle:
    """A translation model for raw text.

    Args:
        folder: Folder of the bundle.
        threads: CPU threads; None for CTranslate2's default.

    Raises:
        DistillationError: The folder lacks a model or a text processing, or one of them cannot be loaded.
    """

    def __init__(self, folder: str | Path, threads: int | None = None) -> None:
        self.processing = TextProcessing.read(Path(folder))
        self.engine = CTranslate2Engine(folder, threads)

    def translate(self, lines: Iterable[str], *, beam: int = 5, length_penalty: float = 1.0) -> Iterator[str]:
        """Translate lines of raw text; see `translate_text`.

        Args:
            lines: Sentences, or paragraphs. CHUNK of them are read and translated at a time.
            beam: Hypotheses kept at each step.
            length_penalty: Scores are divided by the length to this power.

        Yields:
            The translation of each line.

        Raises:
            DistillationError: CTranslate2 cannot translate a line.
        """
        if isinstance(lines, str):
            raise DistillationError(
                "lines must be several, e.g. a list or an open file, but are one string; give [text]"
            )
        remaining = iter(lines)
        chunks = iter(lambda: list(itertools.islice(remaining, CHUNK)), [])
        settings = Search(beam, length_penalty=length_penalty)
        for translations in translate_text(self.engine, self.processing, chunks, settings):
            yield from translations


def translate_text(
    engine: Engine, processing: TextProcessing, chunks: Iterable[list[str]], settings: Search
) -> Iterator[list[str]]:
    """Translate chunks of lines of raw text. A line of any length becomes one line; an empty one stays empty.

    A line of more than LONGEST_PART pieces, or more than the model can read, is split at sentence ends. A sentence that
    is still too long is cut into equal parts.

    Args:
        engine: The model.
        processing: How its text is processed.
        chunks: Lines of raw text.
        settings: Settings of the search.

    Yields:
        As many lines for each chunk.

    Raises:
        DistillationError: The engine cannot translate a sentence, or lost one.
    """
    limit = min(engine.longest_source, LONGEST_PART)
    blank = "" if processing.target.language.startswith(("zh", "ja")) else " "
    for lines in chunks:
        parts = [_split(processing, line, limit) for line in lines]
        translations = iter(translate_all(engine, list(itertools.chain(*parts)), settings))
        yield [blank.join(processing.decode(" ".join(next(translations))) for _ in line) for line in parts]


def _split(processing: TextProcessing, line: str, limit: int) -> list[Pieces]:
    """Encode a line in one or several parts of at most `limit` pieces."""
    pieces = processing.encode(line, "source").split()
    if len(pieces) <= limit:
        return [pieces]
    parts: list[Pieces] = [[]]
    for text in _SENTENCE_END.split(line):
        sentence = processing.encode(text, "source").split()
        if len(parts[-1]) + len(sentence) <= limit:
            parts[-1] = parts[-1] + sentence
        else:
            size = math.ceil(len(sentence) / math.ceil(len(sentence) / limit))
            parts += [sentence[start : start + size] for start in range(0, len(sentence), size)]
    return [part for part in parts if part]

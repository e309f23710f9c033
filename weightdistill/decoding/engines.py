"""What translates: the interface that all engines share, and the CTranslate2 one.

An engine takes and gives subword pieces. Knows nothing about text, fairseq or how a model was trained.
"""

import json
import math
import struct
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, Protocol, TypeAlias

from weightdistill.errors import DistillationError

Pieces: TypeAlias = list[str]
BatchType: TypeAlias = Literal["sentences", "tokens"]

LONGEST_OUTPUT = 200
"""Pieces after which every engine ends a translation, if not its positions do; the default of fairseq-generate."""
_END = "</s>"
_POSITIONS = "position_encodings/encodings"


class Hypothesis(NamedTuple):
    """A translation that beam search found."""

    pieces: Pieces
    """Without an end-of-sentence mark."""
    score: float
    """Log-probability, divided by (length ** length_penalty)."""
    finished: bool
    """Whether it ends by itself, and not at LONGEST_OUTPUT pieces."""


@dataclass(frozen=True)
class Search:
    """Settings of a beam search."""

    beam: int = 5
    """Hypotheses kept at each step."""
    n_best: int = 1
    """Hypotheses given of each sentence."""
    length_penalty: float = 1.0
    """Scores are divided by (length ** length_penalty)."""
    batch_size: int = 4096
    """Sentences, or padded source tokens, decoded together."""
    batch_type: BatchType = "tokens"
    """The unit of `batch_size`."""

    def __post_init__(self) -> None:
        for field, value in (("beam", self.beam), ("n best", self.n_best), ("batch size", self.batch_size)):
            if value < 1:
                raise DistillationError(f"{field} must be at least 1, but is {value}")
        if self.n_best > self.beam:
            raise DistillationError(f"n best must be at most the beam ({self.beam}), but is {self.n_best}")


class Engine(Protocol):
    """A loaded model that translates."""

    @property
    def name(self) -> str:
        """Path of the model, as the user gave it."""

    @property
    def parameters(self) -> int:
        """Weights of the model, tied ones counted once."""

    @property
    def longest_source(self) -> int:
        """The most pieces of a sentence, without its end-of-sentence mark, that the model can read."""

    def search(self, sentences: Sequence[Pieces], settings: Search) -> list[list[Hypothesis]]:
        """Translate by beam search: the `n_best` hypotheses of each sentence, best first, in the order of the input.

        Args:
            sentences: source pieces, without an end-of-sentence mark; an empty sentence gives no hypotheses.
            settings: of the search.

        Raises:
            DistillationError: a sentence that the model cannot take.
        """


def translate(engine: Engine, sentences: Sequence[Pieces], settings: Search) -> list[Pieces]:
    """The best translation of each sentence; of an empty one an empty one. Raises as `Engine.search`."""
    return [hypotheses[0].pieces if hypotheses else [] for hypotheses in engine.search(sentences, settings)]


def search_filled(
    engine: Engine, sentences: Sequence[Pieces], search: Callable[[list[Pieces]], list[list[Hypothesis]]]
) -> list[list[Hypothesis]]:
    """Run `search` on the sentences that are not empty, and put the results in place.

    Raises:
        DistillationError: a sentence that is too long for the engine; another number of results than of sentences.
    """
    filled = [sentence for sentence in sentences if sentence]
    for sentence in filled:
        if len(sentence) > engine.longest_source:
            raise DistillationError(
                f"a sentence must have at most {engine.longest_source} pieces for {engine.name}, but one has "
                f"{len(sentence)}: {' '.join(sentence[:8])} ...; split it"
            )
    found = search(filled) if filled else []
    if len(found) != len(filled):
        raise DistillationError(f"{len(filled)} sentences gave {len(found)} translations; the model is unusable")
    in_order = iter(found)
    return [next(in_order) if sentence else [] for sentence in sentences]


class CTranslate2Engine:
    """A model in CTranslate2's format; on all GPUs that CTranslate2 sees, if any.

    Args:
        folder: holds model.bin and its vocabularies.
        threads: CPU threads; None for CTranslate2's default.

    Raises:
        DistillationError: the folder does not hold a model that CTranslate2 can load.
    """

    def __init__(self, folder: str | Path, threads: int | None = None) -> None:
        import ctranslate2

        self.name = str(folder)
        shapes = dict(read_shapes(Path(folder) / "model.bin"))
        self.parameters = count_parameters(shapes)
        # Where both stacks have the same positions, the format has the decoder's alone; without absolute ones, none.
        # The end-of-sentence mark has one, too.
        own = shapes.get(f"decoder/{_POSITIONS}", (sys.maxsize,))
        self.longest_source = shapes.get(f"encoder/{_POSITIONS}", own)[0] - 1
        self._longest_output = min(LONGEST_OUTPUT, own[0] - 1)
        # batches of one call are shared out over all GPUs
        gpus = list(range(ctranslate2.get_cuda_device_count()))
        device, indices = ("cuda", gpus) if gpus else ("cpu", [0])
        try:
            self._translator = ctranslate2.Translator(
                str(folder), device=device, device_index=indices, intra_threads=threads or 0
            )
        except (RuntimeError, ValueError) as error:
            raise DistillationError(f"CTranslate2 cannot load {folder}: {error}; convert the model again") from error

    def search(self, sentences: Sequence[Pieces], settings: Search) -> list[list[Hypothesis]]:
        """See `Engine.search`."""

        def run(filled: list[Pieces]) -> list[list[Hypothesis]]:
            try:
                results = self._translator.translate_batch(
                    filled,
                    beam_size=settings.beam,
                    num_hypotheses=settings.n_best,
                    max_batch_size=settings.batch_size,
                    batch_type="tokens" if settings.batch_type == "tokens" else "examples",
                    length_penalty=settings.length_penalty,
                    max_decoding_length=self._longest_output,
                    max_input_length=0,  # its default cuts long sentences without a word
                    return_scores=True,
                    return_end_token=True,
                )
            except (RuntimeError, ValueError) as error:
                raise DistillationError(f"CTranslate2 cannot translate with {self.name}: {error}") from error
            return [
                [
                    Hypothesis([piece for piece in pieces if piece != _END], score, _END in pieces)
                    for pieces, score in zip(result.hypotheses, result.scores, strict=True)
                ]
                for result in results
            ]

        return search_filled(self, sentences, run)


def vocabulary(folder: Path, side: str) -> list[str]:
    """The words of a CTranslate2 model.

    Args:
        folder: the model.
        side: `source` or `target`.

    Raises:
        DistillationError: the folder has no such file, or a damaged one.
    """
    for name in ("shared", side):
        for path in (folder / f"{name}_vocabulary.json", folder / f"{name}_vocabulary.txt"):
            if path.exists():
                try:
                    text = path.read_text(encoding="utf-8")
                    return list(json.loads(text)) if path.suffix == ".json" else text.split("\n")[:-1]
                except ValueError as error:
                    raise DistillationError(f"{path} is damaged: {error}; convert the model again") from error
    raise DistillationError(f"{folder} holds no {side} vocabulary; give a folder that CTranslate2's converter wrote")


def count_parameters(shapes: Mapping[str, Sequence[int]]) -> int:
    """Count the weights of a CTranslate2 model from their shapes.

    Position encodings are left out, since the format stores sinusoids as it stores learned ones; so are the scales of
    quantised weights.
    """
    return sum(
        math.prod(shape) for name, shape in shapes.items() if shape and not name.endswith(("_scale", _POSITIONS))
    )


def read_shapes(model: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the weights in CTranslate2's `model.bin`, tied ones once.

    Raises:
        DistillationError: no such file, or another format.
    """
    try:
        with model.open("rb") as file:
            _numbers(file, "<I")  # version of the format
            _text(file)  # name of the architecture
            _, variables = _numbers(file, "<II")  # revision of the architecture, number of variables
            for _ in range(variables):
                name = _text(file)
                (rank,) = _numbers(file, "<B")
                shape = _numbers(file, f"<{rank}I")
                _, size = _numbers(file, "<BI")  # type of the numbers, bytes that follow
                file.seek(size, 1)
                yield name, shape
    except OSError as error:
        raise DistillationError(
            f"{model} cannot be read: {error.strerror}; give a folder that CTranslate2's converter wrote"
        ) from error
    except (struct.error, UnicodeDecodeError) as error:
        raise DistillationError(f"{model} is truncated or not a CTranslate2 model; convert the model again") from error


def _numbers(file: BinaryIO, form: str) -> tuple[int, ...]:
    return struct.unpack(form, file.read(struct.calcsize(form)))


def _text(file: BinaryIO) -> str:
    (length,) = _numbers(file, "<H")
    return file.read(length)[:-1].decode("utf-8")

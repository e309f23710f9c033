"""Translation engines: the interface that they share, and the engine for CTranslate2 models.

An engine reads and writes subword pieces. Knows nothing about raw text, fairseq or training.
"""

import contextlib
import math
import os
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, Protocol, TypeAlias

from weightdistill.errors import DistillationError
from weightdistill.files import decode, read_bytes, read_json

Pieces: TypeAlias = list[str]
BatchType: TypeAlias = Literal["sentences", "tokens"]

LONGEST_OUTPUT = 200
"""Every engine stops a translation after this many pieces, the default of fairseq-generate, or at its last position."""
SEEDS = 2**31
"""Seeds are below this number, which every engine can take."""
FORMAT_VERSION = 6
"""Version of CTranslate2's binary format that `read_shapes` reads: the only one that CTranslate2 4 writes."""
VOCABULARY_MAP = "vmap.txt"
"""CTranslate2's name for the vocabulary map in a model's folder."""
NUMBER_TYPES = {0: "float32", 1: "int8", 2: "int16", 3: "int32", 4: "float16", 5: "bfloat16"}
"""Names of the number types in CTranslate2's binary format."""
_END = "</s>"
_POSITIONS = "position_encodings/encodings"


class Hypothesis(NamedTuple):
    """A translation returned by beam search or sampling."""

    pieces: Pieces
    """The output, without the end-of-sentence symbol."""
    score: float
    """Log-probability divided by (length ** length_penalty)."""
    finished: bool
    """Whether the model ended the sentence; False if it was cut at LONGEST_OUTPUT pieces."""


class StoredWeight(NamedTuple):
    """A weight in a CTranslate2 model's file."""

    name: str
    shape: tuple[int, ...]
    number_type: str


@dataclass(frozen=True)
class Sampling:
    """Settings of sampling: each piece is drawn at random, with its probability.

    Raises:
        DistillationError: A value is out of range.
    """

    samples: int = 1
    """Translations per sentence, drawn independently; equal ones are possible."""
    top_k: int = 10
    """Draw among so many most probable pieces; 0 for all. Label smoothing makes a model expect any piece anywhere."""
    temperature: float = 1.0
    """Divides the logits: below 1 for likelier translations."""
    seed: int = 1
    """Of the random numbers. Equal calls on equal machines give equal samples, unless CTranslate2 has several GPUs."""

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise DistillationError(f"samples must be at least 1, but is {self.samples}")
        if self.top_k < 0 or self.top_k == 1:
            raise DistillationError(
                f"sampling top k must be 0 or at least 2, but is {self.top_k}; give 0 to sample among all pieces"
            )
        if not 0 < self.temperature < math.inf:
            raise DistillationError(f"sampling temperature must be positive and finite, but is {self.temperature}")
        if not 0 <= self.seed < SEEDS:
            raise DistillationError(f"seed must be within 0 and {SEEDS - 1}, but is {self.seed}")


@dataclass(frozen=True)
class Search:
    """Settings of a beam search, or of the sampling that takes its place.

    Raises:
        DistillationError: A value is out of range.
    """

    beam: int = 5
    """Hypotheses kept at each step."""
    n_best: int = 1
    """Hypotheses returned per sentence."""
    length_penalty: float = 1.0
    """Scores are divided by (length ** length_penalty)."""
    batch_size: int = 4096
    """Sentences, or padded source tokens, per batch."""
    batch_type: BatchType = "tokens"
    """The unit of `batch_size`."""
    sampling: Sampling | None = None
    """Sample instead of searching; `beam` and `n_best` then have no effect."""
    output_length: int | None = None
    """Length of every translation in pieces, whatever the model predicts; None: the model ends its sentences. For
    measuring the speed of models that were not trained."""

    def __post_init__(self) -> None:
        for field, value in (("beam", self.beam), ("n best", self.n_best), ("batch size", self.batch_size)):
            if value < 1:
                raise DistillationError(f"{field} must be at least 1, but is {value}")
        if not math.isfinite(self.length_penalty):
            raise DistillationError(f"length penalty must be finite, but is {self.length_penalty}")
        if self.n_best > self.beam:
            raise DistillationError(f"n best must be at most the beam ({self.beam}), but is {self.n_best}")
        if self.output_length is not None and not 1 <= self.output_length < LONGEST_OUTPUT:
            raise DistillationError(
                f"output length must be at least 1 and below {LONGEST_OUTPUT}, but is {self.output_length}"
            )


class Engine(Protocol):
    """A loaded translation model."""

    @property
    def name(self) -> str:
        """Path of the model, as the user gave it."""

    @property
    def parameters(self) -> int:
        """Number of parameters; tied weights count once."""

    @property
    def longest_source(self) -> int:
        """Longest source sentence that the model can read, in pieces without the end-of-sentence symbol."""

    def search(self, sentences: Sequence[Pieces], settings: Search) -> list[list[Hypothesis]]:
        """Translate sentences by beam search or sampling.

        Args:
            sentences: Source pieces, without the end-of-sentence symbol.
            settings: Settings of the search.

        Returns:
            The `n_best` hypotheses of each sentence, best first, or its samples; in input order. An empty sentence has
            none.

        Raises:
            DistillationError: The model cannot translate one of the sentences.
        """


def translate(engine: Engine, sentences: Sequence[Pieces], settings: Search) -> list[Pieces]:
    """Return the best translation of each sentence; an empty sentence stays empty. Raises like `Engine.search`."""
    return [hypotheses[0].pieces if hypotheses else [] for hypotheses in engine.search(sentences, settings)]


def search_filled(
    engine: Engine, sentences: Sequence[Pieces], search: Callable[[list[Pieces]], list[list[Hypothesis]]]
) -> list[list[Hypothesis]]:
    """Run `search` on the non-empty sentences and return the results in input order.

    Raises:
        DistillationError: A sentence is too long for the engine, or `search` returned too few or too many results.
    """
    filled = [sentence for sentence in sentences if sentence]
    for sentence in filled:
        if len(sentence) > engine.longest_source:
            raise DistillationError(
                f"a sentence must have at most {engine.longest_source} pieces for {engine.name}, but one has "
                f"{len(sentence)}: {' '.join(sentence[:8])} ...; split it"
            )
    results = search(filled) if filled else []
    if len(results) != len(filled):
        raise DistillationError(
            f"{engine.name} must return one translation per sentence, but returned {len(results)} for "
            f"{len(filled)} sentences; export the model again"
        )
    remaining = iter(results)
    return [next(remaining) if sentence else [] for sentence in sentences]


class CTranslate2Engine:
    """A model in CTranslate2's format. Runs on all GPUs that CTranslate2 sees, or else on the CPU.

    Args:
        folder: Folder with model.bin and the vocabularies.
        threads: CPU threads; None for CTranslate2's default.
        vocabulary_map: Use the folder's vocabulary map if it has one; False: score the whole vocabulary; a path: use
            this map instead.

    Raises:
        DistillationError: The folder does not hold a model that CTranslate2 can load, or there is no such map.
    """

    def __init__(self, folder: str | Path, threads: int | None = None, vocabulary_map: bool | Path = True) -> None:
        if threads:
            os.environ["MKL_NUM_THREADS"] = str(threads)  # a larger number in the environment makes it ten times slower
        import ctranslate2

        self.name = str(folder) + (f" with {vocabulary_map}" if isinstance(vocabulary_map, Path) else "")
        shapes = dict(read_shapes(Path(folder) / "model.bin"))
        self.parameters = count_parameters(shapes)
        # If both stacks have the same positions, the format stores only the decoder's; without absolute positions,
        # it stores none. The end-of-sentence symbol takes one position.
        decoder_positions = shapes.get(f"decoder/{_POSITIONS}", (sys.maxsize,))
        self.longest_source = shapes.get(f"encoder/{_POSITIONS}", decoder_positions)[0] - 1
        self._longest_output = min(LONGEST_OUTPUT, decoder_positions[0] - 1)
        # CTranslate2 distributes the batches of one call over all GPUs.
        gpus = list(range(ctranslate2.get_cuda_device_count()))
        device, indices = ("cuda", gpus) if gpus else ("cpu", [0])
        self._settings: dict[str, Any] = {"device": device, "device_index": indices, "intra_threads": threads or 0}
        self._folder, self._map = Path(folder), vocabulary_map
        self.vocabulary_map = vocabulary_map is not False and (self._folder / VOCABULARY_MAP).is_file()
        self._load()

    def _load(self) -> None:
        import ctranslate2

        folder = self._folder
        try:
            with contextlib.ExitStack() as stack:
                if isinstance(self._map, Path):
                    folder = stack.enter_context(_with_map(folder, self._map))
                    self.vocabulary_map = True
                if self.vocabulary_map:
                    _require_map(folder / VOCABULARY_MAP)
                self._translator = ctranslate2.Translator(str(folder), **self._settings)
        except DistillationError:
            raise
        except (RuntimeError, ValueError) as error:
            raise DistillationError(f"CTranslate2 cannot load {self.name}: {error}; convert the model again") from error

    def _seed(self, seed: int) -> None:
        """Seed the sampling. CTranslate2's threads take a seed when they first sample; a new model has new threads."""
        import ctranslate2

        ctranslate2.set_random_seed(seed)
        del self._translator  # the memory may not hold two
        self._load()

    def search(self, sentences: Sequence[Pieces], settings: Search) -> list[list[Hypothesis]]:
        """Translate sentences; see `Engine.search`."""
        sampling = settings.sampling
        method: dict[str, Any] = {"beam_size": settings.beam, "num_hypotheses": settings.n_best}
        if sampling is not None:
            method = {
                "beam_size": 1,
                "num_hypotheses": sampling.samples,
                "sampling_topk": sampling.top_k,
                "sampling_temperature": sampling.temperature,
            }
            self._seed(sampling.seed)
        least, most = 1, self._longest_output
        if settings.output_length is not None:
            least = most = settings.output_length + 1  # a step for the end-of-sentence symbol, as in fairseq

        def run(filled: list[Pieces]) -> list[list[Hypothesis]]:
            try:
                results = self._translator.translate_batch(
                    filled,
                    **method,
                    max_batch_size=settings.batch_size,
                    batch_type="tokens" if settings.batch_type == "tokens" else "examples",
                    length_penalty=settings.length_penalty,
                    min_decoding_length=least,
                    max_decoding_length=most,
                    use_vmap=self.vocabulary_map,
                    max_input_length=0,  # the default truncates long sentences silently
                    return_scores=True,
                    return_end_token=True,
                )
            except (RuntimeError, ValueError) as error:
                raise DistillationError(f"CTranslate2 cannot translate with {self.name}: {error}") from error
            return [
                [
                    Hypothesis(_without_end(pieces)[: settings.output_length], score, _END in pieces)
                    for pieces, score in zip(result.hypotheses, result.scores, strict=True)
                ]
                for result in results
            ]

        return search_filled(self, sentences, run)


def _without_end(pieces: Pieces) -> Pieces:
    return [piece for piece in pieces if piece != _END]


@contextlib.contextmanager
def _with_map(folder: Path, vocabulary_map: Path) -> Iterator[Path]:
    """Yield a temporary folder with links to a model's files and to another vocabulary map."""
    with tempfile.TemporaryDirectory() as name:
        for path in folder.iterdir():
            if path.name != VOCABULARY_MAP:
                (Path(name) / path.name).symlink_to(path.resolve())
        (Path(name) / VOCABULARY_MAP).symlink_to(vocabulary_map.resolve())
        yield Path(name)


def _require_map(path: Path) -> None:
    """Refuse a file that is not a vocabulary map: CTranslate2 crashes on an empty one."""
    path, remedy = Path(os.path.realpath(path)), "make one with `weightdistill vocabulary-map`"
    try:
        lines = decode(path.read_bytes(), path, remedy=remedy).removesuffix("\n").split("\n")
    except OSError as error:
        raise DistillationError(f"vocabulary map {path} cannot be read: {error.strerror}; {remedy}") from error
    if damaged := next((number for number, line in enumerate(lines, start=1) if line.count("\t") != 1), None):
        raise DistillationError(
            f"vocabulary map {path}: line {damaged} must have one tab, behind a source piece; {remedy}"
        )


def vocabulary(folder: Path, side: str) -> list[str]:
    """Read a vocabulary of a CTranslate2 model.

    Args:
        folder: Folder of the model.
        side: `source` or `target`.

    Raises:
        DistillationError: The folder has no such vocabulary, or its file is damaged.
    """
    for name in ("shared", side):
        for path in (folder / f"{name}_vocabulary.json", folder / f"{name}_vocabulary.txt"):
            if path.exists():
                remedy = "convert the model again"
                if path.suffix != ".json":
                    return decode(read_bytes(path, remedy), path, remedy=remedy).split("\n")[:-1]
                words = read_json(path, remedy)
                if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
                    raise DistillationError(f"{path} must be a list of words; {remedy}")
                return words
    raise DistillationError(f"{folder} has no {side} vocabulary; give a folder that CTranslate2's converter wrote")


def count_parameters(shapes: Mapping[str, Sequence[int]]) -> int:
    """Count the parameters of a CTranslate2 model from the shapes of its weights.

    Position encodings are left out, since the format stores sinusoidal and learned ones alike. The scales of quantised
    weights are left out too.
    """
    return sum(
        math.prod(shape) for name, shape in shapes.items() if shape and not name.endswith(("_scale", _POSITIONS))
    )


def read_shapes(model: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Read the names and shapes of the weights in CTranslate2's `model.bin`; a tied weight is yielded once.

    Raises:
        DistillationError: See `read_weights`.
    """
    return ((weight.name, weight.shape) for weight in read_weights(model))


def read_weights(model: Path) -> Iterator[StoredWeight]:
    """Read what CTranslate2's `model.bin` holds, without the weights' values; a tied weight is yielded once.

    Raises:
        DistillationError: The file is missing or truncated, or its format has another version than FORMAT_VERSION.
    """
    try:
        with model.open("rb") as file:
            (version,) = _numbers(file, "<I")
            if version != FORMAT_VERSION:
                raise DistillationError(
                    f"{model} must have version {FORMAT_VERSION} of CTranslate2's binary format, but has version "
                    f"{version}; convert the model again with CTranslate2 4"
                )
            _text(file)  # name of the architecture
            _, variables = _numbers(file, "<II")  # revision of the architecture, number of variables
            for _ in range(variables):
                name = _text(file)
                (rank,) = _numbers(file, "<B")
                shape = _numbers(file, f"<{rank}I")
                number_type, size = _numbers(file, "<BI")
                file.seek(size, 1)
                yield StoredWeight(name, shape, NUMBER_TYPES.get(number_type, f"type {number_type}"))
            # The names of tied weights follow.
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

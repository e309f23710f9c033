"""How raw text becomes a model's pieces, and how translations become text again; stored as text.json beside a model.

    python -m weightdistill.text.processing encode TEXT.JSON source|target [--workers N] < TEXT > PIECES
    python -m weightdistill.text.processing decode TEXT.JSON [--workers N] < PIECES > TEXT
    python -m weightdistill.text.processing describe FOLDER SOURCE TARGET MODEL     writes a TEXT.JSON for MODEL alone
    python -m weightdistill.text.processing copy TEXT.JSON FOLDER                   copies it and the files it names
    python -m weightdistill.text.processing files TEXT.JSON SOURCE TARGET           lists it and the files it names

TEXT.JSON may be its folder. Every line of the input is a line of the output, whatever characters it holds; only NUL is
refused, which is in no text but in UTF-16 read as UTF-8.
Knows nothing about models or fairseq.
"""

import contextlib
import dataclasses
import functools
import itertools
import multiprocessing
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias

from weightdistill import files
from weightdistill.errors import DistillationError, reported
from weightdistill.text import tokenisation
from weightdistill.text.subwords import JOINING, Segmenter, detect, open_segmenter
from weightdistill.text.tokenisation import Step, one_blank

NAME = "text.json"
"""Name of the description in its folder."""
VERSION = 1
Side: TypeAlias = Literal["source", "target"]
SIDES: tuple[Side, Side] = ("source", "target")


@dataclass(frozen=True)
class SideProcessing:
    """How text of one side becomes pieces: the steps in this order, each left out by default.

    Raises:
        DistillationError: A value is unknown, two contradict each other, or a file is missing.
    """

    language: str
    """Code of the language, e.g. `en`."""
    normalise: bool = False
    """Normalise punctuation like Moses' scripts, and drop characters that cannot be printed."""
    tokeniser: str = "none"
    """One of `tokenisation.TOKENISERS`. A translation is detokenised."""
    escape: bool = True
    """Moses only: write `&apos;` and the like; undone in a translation."""
    split_hyphens: bool = False
    """Moses only: split words at hyphens (its option -a); undone in a translation."""
    lowercase: bool = False
    """Lower-case the text; not undone."""
    truecase: Path | None = None
    """Model of Moses' truecaser. A translation is detruecased."""
    subwords: Path | None = None
    """SentencePiece model, or BPE codes of subword-nmt or fastBPE; None if the text is segmented already."""
    joining: str = "none"
    """Without `subwords`: how pieces of a translation become words, one of `subwords.JOINING`."""

    def __post_init__(self) -> None:
        for field, value, choices in (
            ("tokeniser", self.tokeniser, tokenisation.TOKENISERS),
            ("joining", self.joining, tuple(JOINING)),
        ):
            if value not in choices:
                raise DistillationError(f"{field} must be one of {', '.join(map(repr, choices))}, but is {value!r}")
        if not self.language:
            raise DistillationError("language must be the code of a language, e.g. en, but is empty")
        if self.tokeniser in tokenisation.CHINESE and not self.language.startswith("zh"):
            raise DistillationError(
                f"tokeniser {self.tokeniser!r} is for Chinese (zh), but the language is {self.language!r}; choose "
                "another"
            )
        if self.tokeniser != "moses" and (self.split_hyphens or not self.escape):
            raise DistillationError(
                f"escape and split_hyphens are options of the tokeniser 'moses', but it is {self.tokeniser!r}; leave "
                "them out"
            )
        if self.lowercase and self.truecase is not None:
            raise DistillationError("lowercase and truecase exclude each other; give one of them")
        if self.subwords is not None and self.joining != "none":
            raise DistillationError(
                f"joining is for text without a subword model, but is {self.joining!r} beside {self.subwords}; leave "
                "out one of them"
            )
        for path in self.files:
            if not os.path.isfile(path):
                raise DistillationError(f"{path} does not exist; give the file, or leave it out")
        if self.subwords is not None:
            detect(self.subwords)

    @property
    def files(self) -> list[Path]:
        """The files that the steps need."""
        return [path for path in (self.truecase, self.subwords) if path is not None]

    def require_models(self) -> None:
        """Check that the files can be used.

        Raises:
            DistillationError: One cannot.
        """
        open_segmenter(self.subwords, self.joining)
        if self.truecase is not None:
            tokenisation.truecaser(self.truecase)

    @cached_property
    def segmenter(self) -> Segmenter:
        """The subword model."""
        return open_segmenter(self.subwords, self.joining)

    @cached_property
    def forward(self) -> list[Step]:
        """The steps from text to words."""
        steps = [tokenisation.punctuation_normaliser(self.language)] if self.normalise else []
        if self.tokeniser != "none":
            steps.append(
                tokenisation.tokeniser(
                    self.tokeniser, self.language, escape=self.escape, split_hyphens=self.split_hyphens
                )
            )
        if self.lowercase:
            steps.append(str.lower)
        if self.truecase is not None:
            steps.append(tokenisation.truecaser(self.truecase))
        return steps

    @cached_property
    def backward(self) -> list[Step]:
        """The steps from words to text."""
        steps = [tokenisation.detruecaser()] if self.truecase is not None else []
        if self.tokeniser != "none":
            steps.append(tokenisation.detokeniser(self.tokeniser, self.language, escape=self.escape))
        return steps


@dataclass(frozen=True)
class TextProcessing:
    """How raw text becomes a model's pieces, and how translations become text again.

    White space of any kind counts as one blank, so that a line stays one line. Models are loaded on first use.
    """

    source: SideProcessing
    target: SideProcessing

    @classmethod
    def read(cls, path: str | Path) -> "TextProcessing":
        """Read a description.

        Args:
            path: text.json, or its folder. Files that it names lie relative to that folder.

        Raises:
            DistillationError: The file cannot be read, has another version, lacks a key or has an unknown one, or
                describes what cannot be (see `SideProcessing`).
        """
        path = Path(path)
        path = path / NAME if path.is_dir() else path
        value = files.read_json(path, f"give a {NAME}, or the folder of a bundle or of prepare.sh")
        if not isinstance(value, dict) or value.get("version") != VERSION:
            version = value.get("version") if isinstance(value, dict) else None
            raise DistillationError(
                f"{path}: version must be {VERSION}, but is {version!r}; write it with this release"
            )
        if set(value) != {"version", *SIDES}:
            raise DistillationError(f"{path} must have the keys version, source and target, but has {', '.join(value)}")
        return cls(*(_read_side(path, side, value[side]) for side in SIDES))

    def encode(self, line: str, side: Side) -> str:
        """Turn a line of text into pieces joined by blanks; an empty line stays empty."""
        processing = self.source if side == "source" else self.target
        text = one_blank(line)
        for step in processing.forward:
            text = step(text) if text else text
        return " ".join(processing.segmenter.encode(one_blank(text)))

    def decode(self, pieces: str) -> str:
        """Turn pieces of the target, joined by blanks, into a line of text; an empty line stays empty."""
        text = self.target.segmenter.decode(pieces.split())
        for step in self.target.backward:
            text = step(one_blank(text))
        return one_blank(text)

    def require_direction(self, source: str, target: str) -> None:
        """Refuse the opposite direction.

        Other codes may differ, such as `zh` and `zh-CN`.

        Args:
            source: Code of the source language.
            target: Code of the target language.

        Raises:
            DistillationError: The languages are those of the description in the opposite order.
        """
        languages = self.source.language, self.target.language
        if (target, source) == languages != (source, target):
            raise DistillationError(
                f"the text processing is for {languages[0]} to {languages[1]}, but source and target are {source} and "
                f"{target}; exchange them, or give another text.json"
            )

    @property
    def files(self) -> list[Path]:
        """The files that both sides need, each once."""
        return list(dict.fromkeys([*self.source.files, *self.target.files]))

    def write(self, folder: str | Path) -> None:
        """Write text.json to a folder, and copy the files that it names beside it.

        Raises:
            DistillationError: A file cannot be written, or a model of the processing cannot be used.
        """
        folder = Path(folder)
        for processing in (self.source, self.target):
            processing.require_models()
        names = self._names()
        for path, name in names.items():
            if not (folder / name).exists() or not (folder / name).samefile(path):
                with files.writing(folder / name) as temporary:
                    shutil.copyfile(path, temporary)
        sides = {
            side: {
                key: names[value] if isinstance(value, Path) else value
                for key, value in asdict(processing).items()
                if value != _DEFAULTS.get(key)
            }
            for side, processing in zip(SIDES, (self.source, self.target), strict=True)
        }
        files.write_json(folder / NAME, {"version": VERSION, **sides})

    def _names(self) -> dict[Path, str]:
        """Choose the name of each file in a folder of all: its own, unless that is taken."""
        names: dict[Path, str] = {}
        for side, processing in zip(SIDES, (self.source, self.target), strict=True):
            for path in processing.files:
                taken = path.name in _RESERVED or path.name in names.values()
                names.setdefault(path, f"{side}.{path.name}" if taken else path.name)
        return names


def _read_side(path: Path, side: Side, value: Any) -> SideProcessing:
    if not isinstance(value, dict):
        raise DistillationError(f"{path}: {side} must be an object, but is {value!r}")
    settings: dict[str, Any] = {}
    for key, setting in value.items():
        if key not in _TYPES:
            raise DistillationError(
                f"{path}: keys of {side} must be of {', '.join(_TYPES)}, but one is {key!r}; correct or remove it"
            )
        if not isinstance(setting, _TYPES[key]):
            raise DistillationError(
                f"{path}: {key} of {side} must be of the type {_TYPES[key].__name__}, but is {setting!r}"
            )
        settings[key] = path.parent / setting if key in _FILES else setting
    if "language" not in settings:
        raise DistillationError(f"{path}: {side} lacks the key language; add its code, e.g. en")
    try:
        return SideProcessing(**settings)
    except DistillationError as error:
        raise DistillationError(f"{path}: {side}: {error}") from error


_FILES = ("truecase", "subwords")
_TYPES: dict[str, type[Any]] = {
    field.name: bool if isinstance(field.default, bool) else str for field in dataclasses.fields(SideProcessing)
}
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(SideProcessing)}
_RESERVED = {NAME, "README.md", "config.json", "model.bin", "vmap.txt"}
"""Files of a bundle that the processing must not overwrite."""


def main(arguments: list[str]) -> None:
    """Run the command line. Wrong arguments print the usage, and end with exit code 1."""
    workers = 1
    match arguments:
        case [*rest, "--workers", number] if number.isdigit() and int(number):
            arguments, workers = rest, int(number)
    match arguments:
        case ["encode", path, "source" | "target" as side]:
            convert(path, side, workers)
        case ["decode", path]:
            convert(path, None, workers)
        case ["describe", folder, source, target, model]:
            sides = (SideProcessing(language, subwords=Path(model)) for language in (source, target))
            TextProcessing(*sides).write(folder)
        case ["copy", path, folder]:
            TextProcessing.read(path).write(folder)
        case ["files", path, source, target]:
            processing = TextProcessing.read(path)
            processing.require_direction(source, target)
            print(Path(path) / NAME if Path(path).is_dir() else path, *processing.files, sep="\n")
        case _:
            sys.exit(__doc__)


def convert(path: str, side: Side | None, workers: int = 1) -> None:
    """Encode or decode standard input to standard output, line by line.

    Args:
        path: text.json, or its folder.
        side: Side to encode; None to decode.
        workers: Processes.

    Raises:
        DistillationError: The description cannot be used, or a line is not UTF-8.
    """
    _read_once(path)  # so that an error is one of this process
    run = partial(_convert_lines, path, side)
    chunks = _chunks(sys.stdin.buffer)
    with contextlib.ExitStack() as stack:
        if workers > 1:
            pool = stack.enter_context(multiprocessing.Pool(workers))
        # One chunk per process at a time: the pool's own imap would read the whole input first.
        while block := list(itertools.islice(chunks, workers)):
            for lines in pool.map(run, block) if workers > 1 else map(run, block):
                sys.stdout.buffer.write(lines)
                sys.stdout.buffer.flush()


_read_once = functools.cache(TextProcessing.read)


def _convert_lines(path: str, side: Side | None, lines: list[str]) -> bytes:
    processing = _read_once(path)
    converted = [processing.decode(line) if side is None else processing.encode(line, side) for line in lines]
    return "".join(f"{line}\n" for line in converted).encode()


def _chunks(file: BinaryIO) -> Iterator[list[str]]:
    lines = files.decode_lines(file, "standard input")
    while chunk := list(itertools.islice(lines, _CHUNK)):
        yield chunk


_CHUNK = 5000
"""Lines that a process converts at a time."""


if __name__ == "__main__":
    with reported("processing"):
        main(sys.argv[1:])

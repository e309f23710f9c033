"""A teacher's predictions on disk: the top-k tokens of each target position, so that students train without it.

A cache is a folder with `cache.json` and shards of sentences. A shard consists of four memory-mapped arrays:

    offsets   int64    (sentences + 1,)   start of each sentence
    indices   uint16   (positions, k)     top-k tokens; uint32 if the vocabulary is larger than 65,536
    values    float16  (positions, k)     their probabilities at the cache's temperature
    missing   float16  (positions,)       probability mass of all other tokens

A shard is valid once `cache.json` lists it with its checksums. Knows arrays, not datasets or models.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from weightdistill.errors import DistillationError
from weightdistill.files import fingerprint, first_line, read_json, write_json, writing

ARRAYS = ("offsets", "indices", "values", "missing")
OPEN_SHARDS = 128
"""Shards that stay mapped at a time: each map keeps a file open, and systems allow 1,024 open files per process."""
TEACHER_SETTINGS = "teacher_settings"
"""What students need of the first teacher's settings, so that they train without its file. Older caches lack it."""
_FORMAT = 1


@dataclass(frozen=True)
class Labels:
    """Soft labels of one or several sentences, as NumPy arrays or tensors.

    Attributes:
        indices: Top-k tokens, shape (positions, k).
        values: Their probabilities, shape (positions, k).
        missing: Probability mass of all other tokens, shape (positions,).
    """

    indices: Any
    values: Any
    missing: Any

    @classmethod
    def of(cls, probabilities: Tensor, k: int) -> "Labels":
        """Keep the top-k tokens of each position, in the number types of a cache.

        Args:
            probabilities: Shape (positions, vocabulary).
            k: At most the size of the vocabulary.
        """
        kept = probabilities.float().topk(k)
        missing = (1 - kept.values.sum(-1)).clamp_min(0)
        kind = np.uint16 if probabilities.shape[1] <= 2**16 else np.uint32
        return cls(
            kept.indices.cpu().numpy().astype(kind),
            kept.values.half().cpu().numpy(),
            missing.half().cpu().numpy(),
        )


class TeacherCache:
    """A complete cache, opened for reading.

    Args:
        folder: Folder of the cache.
        verify: Read all files and compare them with their checksums. Otherwise only their sizes are checked.

    Raises:
        DistillationError: There is no cache, it is incomplete, or one of its files is missing or has changed.
    """

    def __init__(self, folder: str | Path, verify: bool = False) -> None:
        self.folder = Path(folder)
        self.settings = _read_description(self.folder)
        finished = sum(shard["sentences"] for shard in self.settings["shards"])
        if finished != self.settings["sentences"]:
            raise DistillationError(
                f"teacher cache {folder} must hold {self.settings['sentences']} sentences, but holds {finished}; run "
                "weightdistill cache-teacher again to resume it"
            )
        for shard in self.settings["shards"]:
            if verify:
                _verify(self.folder, shard)
            else:
                _require_sizes(self.folder, shard)
        self._arrays = lru_cache(OPEN_SHARDS)(self._map)
        self._starts = np.cumsum([0, *(shard["sentences"] for shard in self.settings["shards"])])

    def __len__(self) -> int:
        """Count the sentences."""
        return int(self.settings["sentences"])

    def __str__(self) -> str:
        """Describe the cache in one line: its folder, its sentences and tokens, its size."""
        size = sum(file["bytes"] for shard in self.settings["shards"] for file in shard["files"].values())
        tokens = sum(shard["tokens"] for shard in self.settings["shards"])
        return f"{self.folder}: {len(self)} sentences, {tokens} tokens, {size / max(1, tokens):.0f} bytes per token"

    def sentence(self, index: int) -> Labels:
        """Return the soft labels of one sentence, as views of the files.

        Raises:
            IndexError: There is no such sentence.
        """
        number, place = _locate(self._starts, index)
        arrays = self._arrays(number)
        begin, end = arrays["offsets"][place : place + 2]
        return Labels(*(arrays[name][begin:end] for name in ARRAYS[1:]))

    def _map(self, number: int) -> dict[str, Any]:
        shard, k = self.settings["shards"][number], self.settings["k"]
        tokens = shard["tokens"]
        shapes = {"offsets": (shard["sentences"] + 1,), "indices": (tokens, k), "values": (tokens, k)}
        arrays = {}
        for array in ARRAYS:
            path = _path(self.folder, shard["name"], array)
            try:
                arrays[array] = np.load(path, mmap_mode="r")
            except Exception as error:  # NumPy parses a damaged head as Python, which fails in many ways
                raise DistillationError(
                    f"{path} cannot be read: {first_line(str(error))}; make the cache again"
                ) from error
            if arrays[array].shape != shapes.get(array, (tokens,)):
                raise DistillationError(f"{path} has another shape than cache.json says; make the cache again")
        offsets = arrays["offsets"]
        if offsets[0] != 0 or offsets[-1] != tokens or (np.diff(offsets) < 0).any():
            raise DistillationError(f"the offsets of {self.folder / shard['name']} are damaged; make the cache again")
        return arrays


class TeacherCaches:
    """The concatenation of several caches, for a training set of several parts. Their teachers may differ.

    Args:
        caches: At least one cache.

    Raises:
        DistillationError: The caches differ in k, temperature or dictionary.
    """

    def __init__(self, caches: Sequence[TeacherCache]) -> None:
        first = caches[0]
        for cache in caches[1:]:
            for name in ("k", "temperature", "dictionary_sha256"):
                if cache.settings.get(name) != first.settings.get(name):
                    raise DistillationError(
                        f"teacher caches of one training must have the same {name}, but {first.folder} has "
                        f"{first.settings.get(name)} and {cache.folder} {cache.settings.get(name)}; make one of them "
                        "again"
                    )
        self._caches = list(caches)
        self._starts = np.cumsum([0, *map(len, caches)])

    def __len__(self) -> int:
        """Count the sentences of all caches."""
        return int(self._starts[-1])

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the first cache; those that matter in training are the same in all."""
        return self._caches[0].settings

    @property
    def teachers(self) -> list[dict[str, str]]:
        """Path and SHA-256 of each teacher of the caches, without duplicates."""
        by_sha256 = {teacher["sha256"]: teacher for cache in self._caches for teacher in cache.settings["teachers"]}
        return list(by_sha256.values())

    def sentence(self, index: int) -> Labels:
        """Return the soft labels of one sentence, as views of the files.

        Raises:
            IndexError: There is no such sentence.
        """
        number, place = _locate(self._starts, index)
        return self._caches[number].sentence(place)


def _locate(starts: Any, index: int) -> tuple[int, int]:
    """Find the part that holds a sentence, and its index there.

    Args:
        starts: First sentence of each part, followed by the total, shape (parts + 1,).
        index: Index of the sentence.
    """
    if not 0 <= index < starts[-1]:
        raise IndexError(f"the index of a sentence must be within 0 and {starts[-1] - 1}, but is {index}")
    number = int(np.searchsorted(starts, index, side="right")) - 1
    return number, int(index - starts[number])


def collate(sentences: Sequence[Labels], longest: int) -> Labels:
    """Pad the labels of a batch with zeros.

    Args:
        sentences: Labels of each sentence.
        longest: Positions of the longest sentence.

    Returns:
        Tensors of shape (batch, longest, k) and (batch, longest); the indices in int32, the rest in float16.
    """
    size = (len(sentences), longest)
    k = sentences[0].indices.shape[1]
    indices, values = np.zeros((*size, k), dtype=np.int32), np.zeros((*size, k), dtype=np.float16)
    missing = np.zeros(size, dtype=np.float16)
    for row, labels in enumerate(sentences):
        length = len(labels.missing)
        indices[row, :length], values[row, :length], missing[row, :length] = (
            labels.indices,
            labels.values,
            labels.missing,
        )
    return Labels(*(torch.from_numpy(array) for array in (indices, values, missing)))


def write_cache(
    folder: Path,
    settings: Mapping[str, Any],
    shards: Sequence[range],
    labels_of: Callable[[range], Iterable[Labels]],
    progress: Callable[[int], object] = lambda sentences: None,
) -> int:
    """Write the missing shards of a cache, one after another.

    Args:
        folder: Folder of the cache. An incomplete cache with the same settings is resumed.
        settings: What identifies the cache: `k`, `temperature`, `vocabulary`, `sentences`, `teachers` and so on.
        shards: The sentences of each shard; together they are all sentences.
        labels_of: Returns the labels of a shard's sentences, in order.
        progress: Called with the number of sentences that were finished since the last call.

    Returns:
        The number of shards that were written.

    Raises:
        DistillationError: The folder holds a cache with other settings or a shard that has changed, or cannot be
            written.
    """
    described = {"format": _FORMAT, **settings}
    finished: list[dict[str, Any]] = []
    if (folder / "cache.json").exists():
        existing = _read_description(folder)
        finished = existing.pop("shards")
        identifying = [name for name in described if name != TEACHER_SETTINGS]  # it follows from the teachers
        if different := [name for name in identifying if _identity(name, existing) != _identity(name, described)]:
            raise DistillationError(
                f"{folder} holds a teacher cache with a different {different[0]} ({existing.get(different[0])}, not "
                f"{described[different[0]]}); remove it, or name another folder"
            )
        for shard in finished:
            _verify(folder, shard)
            progress(shard["sentences"])
        if described.keys() - existing.keys():  # of an older version
            write_json(folder / "cache.json", {**described, "shards": finished})
    written = 0
    for number, sentences in enumerate(shards[len(finished) :], start=len(finished)):
        finished.append(_write_shard(folder, f"{number:05}", len(sentences), list(labels_of(sentences))))
        write_json(folder / "cache.json", {**described, "shards": finished})
        progress(len(sentences))
        written += 1
    return written


def read_settings(folder: Path) -> dict[str, Any]:
    """Read the `cache.json` of a cache.

    Raises:
        DistillationError: The file is missing or damaged.
    """
    path = folder / "cache.json"
    settings = read_json(path, "give a folder of weightdistill cache-teacher, or make the cache again")
    if not isinstance(settings, dict) or settings.get("format") != _FORMAT:
        raise DistillationError(f"{path} must describe a teacher cache of format {_FORMAT}; make the cache again")
    return settings


def _read_description(folder: Path) -> dict[str, Any]:
    """Read the settings of a cache, and check that they describe all its sentences, shards and teachers.

    Raises:
        DistillationError: See `read_settings`; or a setting is missing or of another type.
    """
    settings = read_settings(folder)
    try:
        numbers = [settings["sentences"], settings["k"], settings["vocabulary"]]
        for teacher in settings["teachers"]:
            bytes.fromhex(teacher["sha256"])
        for shard in settings["shards"]:
            numbers += [shard["sentences"], shard["tokens"], *(shard["files"][array]["bytes"] for array in ARRAYS)]
            if "/" in shard["name"]:
                raise ValueError(f"shard {shard['name']!r}")
            for array in ARRAYS:
                bytes.fromhex(shard["files"][array]["sha256"])
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError("a number is missing")
        float(settings["temperature"])
    except (KeyError, TypeError, ValueError) as error:
        raise DistillationError(
            f"{folder / 'cache.json'} must list the sentences, k, teachers and shards of a teacher cache, but is "
            f"damaged ({type(error).__name__}: {error}); make the cache again"
        ) from error
    return settings


def _identity(name: str, settings: Mapping[str, Any]) -> Any:
    """Return the part of a setting that must stay the same: for teachers the content of their files, not the path."""
    value = settings.get(name)
    return [teacher["sha256"] for teacher in value] if name == "teachers" and value is not None else value


def _write_shard(folder: Path, name: str, expected: int, sentences: Sequence[Labels]) -> dict[str, Any]:
    if len(sentences) != expected:
        raise DistillationError(f"shard {name} must have labels of {expected} sentences, but has {len(sentences)}")
    arrays = {
        "offsets": np.cumsum([0, *(len(labels.missing) for labels in sentences)], dtype=np.int64),
        **{array: np.concatenate([getattr(labels, array) for labels in sentences]) for array in ARRAYS[1:]},
    }
    files = {}
    for array, values in arrays.items():
        path = _path(folder, name, array)
        with writing(path) as temporary, temporary.open("wb") as file:
            # Given a real file, numpy hides the reason why it cannot be written.
            np.save(SimpleNamespace(write=file.write), values)
        files[array] = {"sha256": fingerprint(path), "bytes": path.stat().st_size}
    return {"name": name, "sentences": expected, "tokens": int(arrays["offsets"][-1]), "files": files}


def _require_sizes(folder: Path, shard: Mapping[str, Any]) -> None:
    for array, file in shard["files"].items():
        path = _path(folder, shard["name"], array)
        size = path.stat().st_size if path.is_file() else None
        if size != file["bytes"]:
            state = "is missing" if size is None else f"has {size} bytes"
            raise DistillationError(f"{path} must have {file['bytes']} bytes, but {state}; make the cache again")


def _verify(folder: Path, shard: Mapping[str, Any]) -> None:
    _require_sizes(folder, shard)
    for array, file in shard["files"].items():
        path = _path(folder, shard["name"], array)
        if fingerprint(path) != file["sha256"]:
            raise DistillationError(
                f"{path} has changed since it was written; remove {folder} and make the cache again"
            )


def _path(folder: Path, name: str, array: str) -> Path:
    return folder / f"{name}.{array}.npy"

"""A teacher's predictions on disk: the k likeliest words of each target token, so that students train without it.

A cache is a folder with `cache.json` and shards of sentences, each of four arrays that are mapped into memory:

    offsets   int64    (sentences + 1,)   where each sentence's tokens begin
    indices   uint16   (tokens, k)        the likeliest words, or uint32 where the vocabulary is larger than 65,536
    values    float16  (tokens, k)        their probabilities at the cache's temperature
    missing   float16  (tokens,)          the mass of all other words

A shard counts once `cache.json` names it with its checksums. Knows arrays, not datasets or models.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from weightdistill.errors import DistillationError
from weightdistill.files import fingerprint, write_json, writing

ARRAYS = ("offsets", "indices", "values", "missing")
OPEN_SHARDS = 128
"""So many shards of a cache stay mapped: each map holds a file open, and systems allow a process 1,024."""
_FORMAT = 1


@dataclass(frozen=True)
class Labels:
    """Soft labels of one sentence or several; NumPy arrays or tensors.

    Attributes:
        indices: the likeliest words, shape (tokens, k).
        values: their probabilities, shape (tokens, k).
        missing: mass of all other words, shape (tokens,).
    """

    indices: Any
    values: Any
    missing: Any

    @classmethod
    def of(cls, probabilities: Tensor, k: int) -> "Labels":
        """The k likeliest words of each token, in the types that a cache holds.

        Args:
            probabilities: shape (tokens, vocabulary).
            k: at most the vocabulary's size.
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
    """A finished cache, opened for reading.

    Args:
        folder: the cache.
        verify: read all of it once and compare it with its checksums.

    Raises:
        DistillationError: there is no cache, it is not finished, or a file of it is missing or has changed; without
            `verify`, a change of its size alone is noticed.
    """

    def __init__(self, folder: str | Path, verify: bool = False) -> None:
        self.folder = Path(folder)
        self.settings = read_settings(self.folder)
        found = sum(shard["sentences"] for shard in self.settings["shards"])
        if found != self.settings["sentences"]:
            raise DistillationError(
                f"teacher cache {folder} holds {found} of {self.settings['sentences']} sentences; run weightdistill "
                "cache-teacher once more to finish it"
            )
        for shard in self.settings["shards"]:
            if verify:
                _verify(self.folder, shard)
            else:
                _require_sizes(self.folder, shard)
        self._arrays = lru_cache(OPEN_SHARDS)(self._map)
        self._starts = np.cumsum([0, *(shard["sentences"] for shard in self.settings["shards"])])

    def __len__(self) -> int:
        """Number of sentences."""
        return int(self.settings["sentences"])

    def sentence(self, index: int) -> Labels:
        """The soft labels of a sentence, as views of the files.

        Raises:
            IndexError: no such sentence.
        """
        number, place = _locate(self._starts, index)
        arrays = self._arrays(number)
        begin, end = arrays["offsets"][place : place + 2]
        return Labels(*(arrays[name][begin:end] for name in ARRAYS[1:]))

    def _map(self, number: int) -> dict[str, Any]:
        name = self.settings["shards"][number]["name"]
        return {array: np.load(_path(self.folder, name, array), mmap_mode="r") for array in ARRAYS}


class TeacherCaches:
    """Several caches one after another, as a training set of several parts has them; of as many teachers, if need be.

    Args:
        caches: at least one.

    Raises:
        DistillationError: they have other numbers of words, temperatures or dictionaries.
    """

    def __init__(self, caches: Sequence[TeacherCache]) -> None:
        first = caches[0]
        for cache in caches[1:]:
            for name in ("k", "temperature", "dictionary_sha256"):
                if cache.settings.get(name) != first.settings.get(name):
                    raise DistillationError(
                        f"teacher caches of one training must have the same {name}, but {first.folder} has "
                        f"{first.settings.get(name)} and {cache.folder} {cache.settings.get(name)}"
                    )
        self._caches = list(caches)
        self._starts = np.cumsum([0, *map(len, caches)])

    def __len__(self) -> int:
        """Number of sentences."""
        return int(self._starts[-1])

    @property
    def settings(self) -> dict[str, Any]:
        """The first cache's; what matters in training is the same in all."""
        return self._caches[0].settings

    @property
    def teachers(self) -> list[dict[str, str]]:
        """Path and SHA-256 of every teacher whose predictions are here, each once."""
        every = {teacher["sha256"]: teacher for cache in self._caches for teacher in cache.settings["teachers"]}
        return list(every.values())

    def sentence(self, index: int) -> Labels:
        """The soft labels of a sentence of all, as views of the files.

        Raises:
            IndexError: no such sentence.
        """
        number, place = _locate(self._starts, index)
        return self._caches[number].sentence(place)


def _locate(starts: Any, index: int) -> tuple[int, int]:
    """The part with a sentence, and its place there; `starts` has the first sentence of each part, and their sum."""
    if not 0 <= index < starts[-1]:
        raise IndexError(f"the cache has {starts[-1]} sentences, but {index} was asked for")
    number = int(np.searchsorted(starts, index, side="right")) - 1
    return number, int(index - starts[number])


def collate(sentences: Sequence[Labels], longest: int) -> Labels:
    """Labels of a batch, padded with zeros to (batch, longest, k) and (batch, longest); int32 and float16 tensors."""
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
    """Write the shards that are not there yet, one after another.

    Args:
        folder: the cache; an unfinished one of the same settings is gone on with.
        settings: what the cache is of: `k`, `temperature`, `vocabulary`, `sentences`, `teachers`, ...
        shards: the sentences of each shard, which together are all.
        labels_of: gives the labels of a shard's sentences, in order.
        progress: called with the number of sentences that are finished.

    Returns:
        How many shards were written.

    Raises:
        DistillationError: the folder holds a cache of other settings or a shard that changed, or cannot be written.
    """
    described = {"format": _FORMAT, **settings}
    done: list[dict[str, Any]] = []
    if (folder / "cache.json").exists():
        before = read_settings(folder)
        done = before.pop("shards")
        if different := [name for name in described if _identity(name, before) != _identity(name, described)]:
            raise DistillationError(
                f"{folder} holds a teacher cache with another {different[0]} ({before.get(different[0])}, not "
                f"{described[different[0]]}); remove it, or name another folder"
            )
        for shard in done:
            _verify(folder, shard)
            progress(shard["sentences"])
    written = 0
    for number, sentences in enumerate(shards[len(done) :], start=len(done)):
        done.append(_write_shard(folder, f"{number:05}", len(sentences), list(labels_of(sentences))))
        write_json(folder / "cache.json", {**described, "shards": done})
        progress(len(sentences))
        written += 1
    return written


def read_settings(folder: Path) -> dict[str, Any]:
    """What `cache.json` says.

    Raises:
        DistillationError: there is none, or it is damaged.
    """
    path = folder / "cache.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DistillationError(
            f"{path} cannot be read: {error.strerror}; give a folder of weightdistill cache-teacher"
        ) from error
    except ValueError as error:
        raise DistillationError(f"{path} is damaged: {error}; make the cache again") from error
    if not isinstance(settings, dict) or settings.get("format") != _FORMAT:
        raise DistillationError(f"{path} is not of a teacher cache of format {_FORMAT}; make the cache again")
    return settings


def _identity(name: str, settings: Mapping[str, Any]) -> Any:
    """What a setting must be equal in: of teachers it is their files' content, wherever they lie."""
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
            np.save(file, values)
        files[array] = {"sha256": fingerprint(path), "bytes": path.stat().st_size}
    return {"name": name, "sentences": expected, "tokens": int(arrays["offsets"][-1]), "files": files}


def _require_sizes(folder: Path, shard: Mapping[str, Any]) -> None:
    for array, file in shard["files"].items():
        path = _path(folder, shard["name"], array)
        size = path.stat().st_size if path.is_file() else None
        if size != file["bytes"]:
            found = "is missing" if size is None else f"has {size} bytes"
            raise DistillationError(f"{path} must have {file['bytes']} bytes, but {found}; make the cache again")


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

"""Caches of teachers' predictions: made by running the teachers on a split, and read along with its sentences."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from fairseq.data import BaseWrapperDataset, FairseqDataset
from fairseq.tasks.translation import TranslationTask

from fairseq_plugins import students, teachers
from fairseq_plugins.fairseq_engine import batches
from fairseq_plugins.loading import translation_task
from weightdistill import checkpoint, files
from weightdistill.distillation.soft_labels import TeacherLogits, ensemble, require_temperature
from weightdistill.distillation.teacher_cache import (
    TEACHER_SETTINGS,
    Labels,
    TeacherCache,
    TeacherCaches,
    collate,
    write_cache,
)
from weightdistill.errors import DistillationError
from weightdistill.places import require_separate


def cache_teacher(
    paths: str,
    output: Path,
    *,
    data: Path | None = None,
    subset: str = "train",
    top_k: int = 64,
    temperature: float = 1.0,
    batch_tokens: int = 4096,
    shard_sentences: int = 50_000,
    progress: Callable[[int], object] = lambda sentences: None,
) -> TeacherCache:
    """Write the teachers' predictions for a split of a data folder; an unfinished cache is resumed.

    Args:
        paths: the teacher's checkpoint; of several, comma-separated, the mean of their distributions is kept.
        output: folder of the cache.
        data: folder of fairseq-preprocess; default: the one that the teacher was trained on.
        subset: the split.
        top_k: words kept per target token.
        temperature: softens the distributions.
        batch_tokens: padded tokens in a batch.
        shard_sentences: sentences in a shard.
        progress: called with the number of sentences that are finished.

    Returns:
        The cache, opened for reading.

    Raises:
        DistillationError: a setting out of range; a teacher, dictionary or split that cannot be used; a cache with
            different settings; an output that cannot be written.
    """
    require_temperature(temperature)
    for field, value in (("top k", top_k), ("batch tokens", batch_tokens), ("shard sentences", shard_sentences)):
        if value < 1:
            raise DistillationError(f"{field} must be at least 1, but is {value}")
    sources = teachers.read_all(paths)
    require_separate({"--output": output}, {"the teacher": (Path(teacher.path) for teacher in sources), "--data": data})
    if not sources:
        raise DistillationError("a cache needs a teacher; give the path of its checkpoint")
    task = translation_task(checkpoint.read(sources[0].path), data, sources[0].path)
    for teacher in sources:
        teacher.require_dictionaries(task.source_dictionary, task.target_dictionary)
    vocabulary = len(task.target_dictionary)
    if top_k > vocabulary:
        raise DistillationError(f"top k must be at most the vocabulary's size ({vocabulary}), but is {top_k}")
    if task.cfg.left_pad_target:
        raise DistillationError(f"{sources[0].path} pads targets on the left, which a teacher cache does not support")
    dataset = load_split(task, subset)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    models = [teacher.build(task).float().to(device) for teacher in sources]
    longest = min(min(model.max_positions()) for model in models)

    @torch.no_grad()
    def labels_of(sentences: range) -> Iterable[Labels]:
        none = Labels.of(torch.empty(0, vocabulary), top_k)
        labels = {index: none for index in sentences}  # what stays so is too long for the teacher
        lengths = {index: length for index in sentences if (length := int(max(dataset.size(index)))) <= longest}
        places = list(lengths)
        for batch in batches(list(lengths.values()), batch_tokens, "tokens"):
            sample = dataset.collater([dataset[places[place]] for place in batch])
            inputs = {name: value.to(device) for name, value in sample["net_input"].items()}
            logits = ensemble((model(**inputs)[0].flatten(0, 1) for model in models), temperature)
            if logits is None:
                continue
            size = sample["target"].shape
            for row, index in enumerate(sample["id"].tolist()):
                length = int(sample["target"][row].ne(task.target_dictionary.pad()).sum())
                chunk = slice(row * size[1], row * size[1] + length)
                labels[index] = Labels.of(TeacherLogits(logits, temperature).probabilities(chunk), top_k)
        return labels.values()

    settings = {
        "k": top_k,
        "temperature": temperature,
        "vocabulary": vocabulary,
        "sentences": len(dataset),
        "shard_sentences": shard_sentences,
        "teachers": [teacher.provenance() for teacher in sources],
        TEACHER_SETTINGS: students.settings_for_students(sources[0]),
        **fingerprints(task, subset),
        **_source_fingerprints(task, subset),
    }
    shards = [
        range(start, min(start + shard_sentences, len(dataset))) for start in range(0, len(dataset), shard_sentences)
    ]
    write_cache(output, settings, shards, labels_of, progress)
    return TeacherCache(output)


class CachedLabelsDataset(BaseWrapperDataset):
    """A dataset whose batches carry the teacher's predictions, as `soft_labels`.

    Args:
        dataset: sentence pairs.
        caches: their soft labels.

    Raises:
        DistillationError: their numbers differ.
    """

    def __init__(self, dataset: FairseqDataset, caches: TeacherCaches) -> None:
        """Compare the numbers of sentences."""
        super().__init__(dataset)
        if len(dataset) != len(caches):
            raise DistillationError(
                f"the teacher cache has {len(caches)} sentences, but the data have {len(dataset)}; make the cache of "
                "the same data, and train without --upsample-primary"
            )
        self._caches = caches

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a sentence pair with its soft labels.

        Args:
            index: its number.

        Raises:
            DistillationError: the cache has another number of tokens for it.
        """
        item = dict(self.dataset[index])
        labels = self._caches.sentence(int(index))
        if len(labels.missing) != len(item["target"]):
            raise DistillationError(
                f"the teacher cache has {len(labels.missing)} tokens of sentence {index}, but the data have "
                f"{len(item['target'])}; it was too long for the teacher: train with smaller "
                "--max-source-positions and --max-target-positions"
            )
        item["soft_labels"] = labels
        return item

    def collater(self, samples: list[dict[str, Any]]) -> Any:
        """Make the dataset's batch, and add `soft_labels` with a row for each of its sentences.

        Args:
            samples: what `__getitem__` returned.
        """
        batch = self.dataset.collater(samples)
        if batch:
            labels = {sample["id"]: sample["soft_labels"] for sample in samples}
            ordered = [labels[index] for index in batch["id"].tolist()]
            batch["soft_labels"] = vars(collate(ordered, batch["target"].shape[1]))
        return batch


def load_split(task: TranslationTask, subset: str) -> Any:
    """Load a split of the task's data.

    Args:
        task: has the data folder.
        subset: name of the split.

    Raises:
        DistillationError: there is none of this name.
    """
    try:
        task.load_dataset(subset)
    except FileNotFoundError as error:
        raise DistillationError(f"{task.cfg.data} has no subset {subset!r} ({error})") from error
    return task.dataset(subset)


def fingerprints(task: TranslationTask, subset: str) -> dict[str, str]:
    """Return SHA-256 of a split's binarised targets and of their dictionary, by which a cache knows its data.

    Sources are left out, since a student may read different ones: those of a multilingual student may have a tag for
    the target language that its teacher never saw.

    Args:
        task: has the data folder.
        subset: name of the split.
    """
    target = task.cfg.target_lang
    return {
        "targets_sha256": files.fingerprint(_binarised(task, subset, target)),
        "dictionary_sha256": files.fingerprint(_folder(task) / f"dict.{target}.txt"),
    }


def _source_fingerprints(task: TranslationTask, subset: str) -> dict[str, str]:
    """Return the same of what the teacher read; a cache is resumed only where it has not changed."""
    source = task.cfg.source_lang
    return {
        "sources_sha256": files.fingerprint(_binarised(task, subset, source)),
        "source_dictionary_sha256": files.fingerprint(_folder(task) / f"dict.{source}.txt"),
    }


def _folder(task: TranslationTask) -> Path:
    return Path(str(task.cfg.data).split(":")[0])


def _binarised(task: TranslationTask, subset: str, language: str) -> Path:
    """Return the file of one side of a split; fairseq also takes data that were made for the opposite direction."""
    source, target = task.cfg.source_lang, task.cfg.target_lang
    paths = [_folder(task) / f"{subset}.{pair}.{language}.bin" for pair in (f"{source}-{target}", f"{target}-{source}")]
    return next((path for path in paths if path.exists()), paths[0])


def parts(task: TranslationTask, subset: str) -> list[str]:
    """Name the parts of a split that fairseq combines into one: train, and train1, train2, ... where they exist."""
    names = [subset]
    while _binarised(task, f"{subset}{len(names)}", task.cfg.target_lang).exists():
        names.append(f"{subset}{len(names)}")
    return names


def open_caches(task: TranslationTask, folder: Path, subset: str, combine: bool) -> TeacherCaches:
    """Open the caches of a split, and check that they are of its targets.

    Args:
        task: has the data.
        folder: holds a cache for each split, under its name.
        subset: the split.
        combine: whether its further parts belong to it (train1, train2, ...), each with its cache.

    Raises:
        DistillationError: one is missing, unfinished or damaged, or was made of different targets.
    """
    names = parts(task, subset) if combine else [subset]
    first = not dist.is_initialized() or dist.get_rank() == 0
    caches = [TeacherCache(folder / name, verify=first) for name in names]
    for name, cache in zip(names, caches, strict=True):
        for field, expected in fingerprints(task, name).items():
            if cache.settings.get(field) != expected:
                raise DistillationError(
                    f"teacher cache {cache.folder} was not made of the {field.removesuffix('_sha256')} of {name} in "
                    f"{task.cfg.data}; make it again with weightdistill cache-teacher"
                )
    return TeacherCaches(caches)

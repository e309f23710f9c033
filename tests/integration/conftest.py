"""Tiny generated data, and the trainings that several tests look at; each is made once, by the real commands."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from commands import PHASE1_UPDATES, TEACHER_SHAPE, TRAINING, Corpus, Training, phase1, run


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Sentences of 2 to 7 of 30 words, and the same words the other way round; one dictionary for both."""
    folder = tmp_path_factory.mktemp("corpus")
    pieces = folder / "pieces"
    pieces.mkdir()
    generator = random.Random(1)
    words = [f"w{number:02}" for number in range(30)]
    for split, count in (("train", 300), ("valid", 24), ("test", 24)):
        sentences = [generator.choices(words, k=generator.randint(2, 7)) for _ in range(count)]
        for language, step in (("aa", 1), ("bb", -1)):
            lines = [" ".join(sentence[::step]) + "\n" for sentence in sentences]
            (pieces / f"{split}.{language}").write_text("".join(lines), encoding="utf-8")
    run(
        *("fairseq-preprocess", "--source-lang", "aa", "--target-lang", "bb", "--joined-dictionary"),
        *("--trainpref", pieces / "train", "--validpref", pieces / "valid", "--testpref", pieces / "test"),
        *("--destdir", folder / "data"),
    )
    return Corpus(folder / "data", pieces)


@pytest.fixture(scope="session")
def data(corpus: Corpus) -> Path:
    """The binarised data."""
    return corpus.data


@pytest.fixture(scope="session")
def teacher(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stock Transformer of 2-2 layers, width 16, whose three embeddings are one."""
    folder = tmp_path_factory.mktemp("teacher")
    run(
        *("fairseq-train", data, "--save-dir", folder, "--task", "translation", "--arch", "transformer"),
        *("--share-all-embeddings", "--criterion", "label_smoothed_cross_entropy", "--label-smoothing", 0.1),
        *(*TRAINING, *TEACHER_SHAPE, "--max-update", 150, "--disable-validation", "--no-epoch-checkpoints"),
    )
    return folder / "checkpoint_last.pt"


@pytest.fixture(scope="session")
def tiny(data: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """Phase 1 of a tiny student with dropout, BLEU at each validation, and a TensorBoard folder, without a break."""
    folder = tmp_path_factory.mktemp("tiny")
    command = phase1(
        data,
        folder / "checkpoints",
        teacher,
        *("--student-preset", "tiny", "--dropout", 0.1, "--max-update", PHASE1_UPDATES),
        *("--save-interval-updates", 4, "--keep-interval-updates", 2, "--no-epoch-checkpoints"),
        *("--eval-bleu", "--eval-bleu-args", '{"beam": 1, "max_len_a": 1, "max_len_b": 3}'),
    )
    log = run(*command, "--tensorboard-logdir", folder / "tensorboard")
    return Training(folder / "checkpoints", command, log)

"""Tiny generated data, and the trainings that several tests look at; each is made once a run, by the real commands."""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from commands import PHASE1_UPDATES, TEACHER_SHAPE, TRAINING, Corpus, MakeOnce, Training, phase1, run
from filelock import FileLock
from installing import build_wheel, install

from weightdistill import checkpoint


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def make_once(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> MakeOnce:
    """Makes a folder in the first worker of pytest-xdist that needs it; the others wait, and read what it made."""
    root = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        root = root.parent

    def make(name: str, fill: Callable[[Path], object]) -> Path:
        folder, finished = root / name, root / f"{name}.finished"
        with FileLock(root / f"{name}.lock"):
            if not finished.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of an attempt that failed
                folder.mkdir()
                fill(folder)
                finished.touch()
        return folder

    return make


@pytest.fixture(scope="session")
def installed(make_once: MakeOnce) -> Path:
    """`weightdistill` in an environment that has the project from its wheel; `run_installed` runs it.

    scripts/release.sh names one of its own.
    """
    if given := os.environ.get("WEIGHTDISTILL_INSTALLED"):
        return Path(given)
    folder = make_once("installed", lambda folder: install(build_wheel(folder), folder / "environment"))
    return folder / "environment/bin/weightdistill"


@pytest.fixture(scope="session")
def corpus(make_once: MakeOnce) -> Corpus:
    """Sentences of 2 to 7 out of 30 words, and the same words backwards; one dictionary for both sides."""
    folder = make_once("corpus", _make_corpus)
    return Corpus(folder / "data", folder / "pieces")


def _make_corpus(folder: Path) -> None:
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


@pytest.fixture(scope="session")
def data(corpus: Corpus) -> Path:
    """The binarised data."""
    return corpus.data


@pytest.fixture(scope="session")
def teacher(data: Path, make_once: MakeOnce) -> Path:
    """A stock Transformer of 2-2 layers, width 16, whose three embeddings are one."""

    def train(folder: Path) -> None:
        run(
            *("fairseq-train", data, "--save-dir", folder, "--task", "translation", "--arch", "transformer"),
            *("--share-all-embeddings", "--criterion", "label_smoothed_cross_entropy", "--label-smoothing", 0.1),
            *(*TRAINING, *TEACHER_SHAPE, "--max-update", 150, "--disable-validation", "--no-epoch-checkpoints"),
        )

    return make_once("teacher", train) / "checkpoint_last.pt"


@pytest.fixture(scope="session")
def second_teacher(teacher: Path, make_once: MakeOnce) -> Path:
    """The same teacher with slightly larger weights."""

    def scale(folder: Path) -> None:
        state = checkpoint.read(teacher)
        state["model"] = {name: weight * 1.05 for name, weight in state["model"].items()}
        checkpoint.write(state, folder / "second.pt")

    return make_once("second_teacher", scale) / "second.pt"


@pytest.fixture(scope="session")
def tiny(data: Path, teacher: Path, make_once: MakeOnce) -> Training:
    """Phase 1 of a tiny student with dropout, BLEU at each validation, and a TensorBoard folder, without a break."""

    def command(folder: Path) -> list[object]:
        return phase1(
            data,
            folder / "checkpoints",
            teacher,
            *("--student-preset", "tiny", "--dropout", 0.1, "--max-update", PHASE1_UPDATES),
            *("--save-interval-updates", 4, "--keep-interval-updates", 2, "--no-epoch-checkpoints"),
            *("--eval-bleu", "--eval-bleu-args", '{"beam": 1, "max_len_a": 1, "max_len_b": 3}'),
        )

    def train(folder: Path) -> None:
        log = run(*command(folder), "--tensorboard-logdir", folder / "tensorboard")
        (folder / "log").write_text(log, encoding="utf-8")

    folder = make_once("tiny", train)
    return Training(folder / "checkpoints", command(folder), (folder / "log").read_text(encoding="utf-8"))

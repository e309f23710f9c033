"""Ensembles of teachers, as fairseq's WMT19 systems are: several files, one vocabulary, shapes that may differ."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from building import Built, student
from commands import fork, phase1
from standins import STAND_INS, sizes

from fairseq_plugins.caching import cache_teacher
from fairseq_plugins.teacher_check import inspect_teachers
from fairseq_plugins.teachers import read_all
from weightdistill import checkpoint, files
from weightdistill.errors import DistillationError

SMALL = STAND_INS["wmt19 en-ru"]
LARGE = replace(SMALL, settings={**SMALL.settings, **sizes(encoder_layers=3, encoder_ffn_embed_dim=48)})


@pytest.fixture
def members(data: Path, tmp_path: Path) -> list[Path]:
    """Two models of different shapes, with the corpus's dictionaries beside them."""
    for number, form in enumerate((SMALL, LARGE), start=1):
        form.write(tmp_path / "teachers", f"model{number}.pt", number, data)
    return [tmp_path / "teachers" / f"model{number}.pt" for number in (1, 2)]


def test_its_members_teach_together(data: Path, members: list[Path], tmp_path: Path) -> None:
    paths = ",".join(map(str, members))
    described = inspect_teachers(members, "aa", "bb")
    assert described.fingerprints == tuple(map(files.fingerprint, members))
    assert described.shape == SMALL.shape()
    exact = ["--dropout", 0, "--attention-dropout", 0]
    built = Built(student(data, tmp_path, paths, "--soft-top-k", 4, "--soft-rest", "spread", *exact))
    assert built.task.student_shape.encoder == SMALL.shape().encoder
    online = built.criterion(built.model, built.sample)[0]
    # the cache's k words of the mean distribution are those of training with both
    for split in ("train", "valid"):
        cache = cache_teacher(paths, tmp_path / "cache" / split, data=data, subset=split, top_k=4)
    assert [entry["path"] for entry in cache.settings["teachers"]] == [str(path) for path in members]
    cached = Built(student(data, tmp_path, paths, "--teacher-cache", tmp_path / "cache", *exact))
    cached.model.load_state_dict(built.model.state_dict())
    assert cached.criterion(cached.model, cached.sample)[0].item() == pytest.approx(online.item(), rel=1e-3)


@pytest.mark.slow
def test_phase_1_takes_weights_from_the_first_member(data: Path, members: list[Path], tmp_path: Path) -> None:
    command = phase1(data, tmp_path / "save", ",".join(map(str, members)), "--student-preset", "tiny")
    fork(*command, "--max-update", 3, "--disable-validation")
    state = checkpoint.read(tmp_path / "save" / "checkpoint_last.pt")
    assert checkpoint.fingerprint_text(state["model"]["teacher_fingerprint"]) == files.fingerprint(members[0])
    assert len(state["task_state"]["teachers"]) == 2


def test_a_member_with_more_words_is_refused(data: Path, tmp_path: Path) -> None:
    SMALL.write(tmp_path / "first", data=data)
    SMALL.write(tmp_path / "second")
    paths = [str(tmp_path / name / "model.pt") for name in ("first", "second")]
    with pytest.raises(
        DistillationError, match=rf"teachers {paths[0]} and {paths[1]} have 40 and 24 source words; the"
    ):
        read_all(",".join(paths))


def test_a_member_with_other_words_is_refused(data: Path, members: list[Path], tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    shutil.copy(members[0], tmp_path / "second" / "model2.pt")
    for language in ("aa", "bb"):
        lines = (data / f"dict.{language}.txt").read_text(encoding="utf-8").splitlines()
        lines[3:5] = lines[4], lines[3]
        (tmp_path / "second" / f"dict.{language}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = [line.split()[0] for line in (lines[4], lines[3])]
    paths = f"{members[0]},{tmp_path / 'second' / 'model2.pt'}"
    with pytest.raises(DistillationError, match=re.escape(f"first differ at entry 7 ('{words[0]}' and '{words[1]}');")):
        cache_teacher(paths, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_member_of_the_opposite_direction_is_refused(members: list[Path]) -> None:
    state = checkpoint.read(members[1])
    state["args"].source_lang, state["args"].target_lang = "bb", "aa"
    torch.save(state, members[1])
    with pytest.raises(DistillationError, match="translate aa-bb and bb-aa; the members of an ensemble"):
        read_all(",".join(map(str, members)))

"""Teachers in all forms that fairseq has written: released, old, averaged, half precision, of a preset, of a plugin."""

import shutil
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import fork, phase1
from standins import STAND_INS, StandIn, averaged

from fairseq_plugins import students, teachers
from fairseq_plugins.export import export
from fairseq_plugins.loading import load_model, random_batches, translation_task
from fairseq_plugins.teacher_check import inspect_teachers
from weightdistill import checkpoint
from weightdistill.errors import DistillationError


@pytest.fixture(params=STAND_INS)
def stand_in(request: pytest.FixtureRequest) -> StandIn:
    return STAND_INS[request.param]


def inputs_of(path: Path, data: Path | None = None) -> tuple[Any, Any]:
    """The task of a checkpoint, and the inputs of a batch."""
    task = translation_task(checkpoint.read(path), data, str(path))
    return task, next(random_batches(task, 1))["net_input"]


@torch.no_grad()
def test_it_teaches_as_the_model_that_it_is(stand_in: StandIn, tmp_path: Path) -> None:
    model = stand_in.write(tmp_path)
    path = tmp_path / "model.pt"
    described = inspect_teachers([path], "aa", "bb")
    assert described.shape == stand_in.shape()
    assert described.dictionaries == tmp_path
    weights = {weight.data_ptr(): weight for weight in model.parameters()}.values()
    assert described.parameters == sum(weight.numel() for weight in weights)
    teacher = teachers.read(str(path))
    assert all(weight.dtype == torch.float32 for weight in teacher.state.values())
    task, inputs = inputs_of(path)
    tolerance = 1e-2 if teacher.raw_state["encoder.embed_tokens.weight"].dtype == torch.float16 else 1e-6
    torch.testing.assert_close(teacher.build(task)(**inputs)[0], model(**inputs)[0], rtol=0, atol=tolerance)


@torch.no_grad()
def test_its_plain_export_is_the_same_model(stand_in: StandIn, tmp_path: Path) -> None:
    stand_in.write(tmp_path)
    path = tmp_path / "model.pt"
    assert export(path, tmp_path / "plain.pt").largest_difference == 0
    plain = checkpoint.read(tmp_path / "plain.pt")
    settings = checkpoint.model_config(plain)
    for stack, shape in vars(stand_in.shape()).items():
        sizes = [
            settings[f"{stack}_{option}"] for option in ("layers", "embed_dim", "ffn_embed_dim", "attention_heads")
        ]
        assert sizes == list(vars(shape).values())
    task, inputs = inputs_of(path)
    exported = load_model(settings, plain["model"], task, "plain.pt")
    assert torch.equal(exported(**inputs)[0], teachers.read(str(path)).build(task)(**inputs)[0])


def test_its_students_inherit_its_settings(stand_in: StandIn, tmp_path: Path) -> None:
    stand_in.write(tmp_path)
    args = Namespace(arch="student", teacher_path=str(tmp_path / "model.pt"), student_preset="small")
    students.fill_in(args)
    assert students.shape_in(args).encoder == stand_in.shape().encoder
    assert args.decoder_layers == 2
    assert args.dropout == 0.3
    prenorm = "t2t" in stand_in.settings["arch"]
    assert args.encoder_normalize_before == args.decoder_normalize_before == prenorm
    assert args.encoder_learned_pos == stand_in.settings.get("encoder_learned_pos", False)


def test_an_average_of_checkpoints(tmp_path: Path) -> None:
    stand_in = STAND_INS["wmt16 en-de"]
    for seed in (1, 2):
        stand_in.write(tmp_path, f"{seed}.pt", seed)
    averaged(tmp_path / "1.pt", tmp_path / "2.pt", output=tmp_path / "model.pt")
    states = [teachers.read(str(tmp_path / name)).state for name in ("1.pt", "2.pt", "model.pt")]
    for name, mean in states[2].items():
        torch.testing.assert_close(mean, (states[0][name] + states[1][name]) / 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wmt14 en-fr", "wmt16 en-de"])
def test_phase_1_from_an_old_teacher(name: str, data: Path, tmp_path: Path) -> None:
    STAND_INS[name].write(tmp_path / "teacher", data=data)
    teacher = tmp_path / "teacher" / "model.pt"
    command = phase1(data, tmp_path / "save", teacher, "--student-preset", "tiny", "--max-update", 3)
    log = fork(*command, "--disable-validation")
    assert "its source dictionary is missing" not in log
    report = export(tmp_path / "save" / "checkpoint_last.pt", tmp_path / "student.pt")
    assert report.largest_difference < 1e-5


def test_data_are_asked_for_when_nothing_has_dictionaries(tmp_path: Path) -> None:
    STAND_INS["wmt14 en-fr"].write(tmp_path)
    (tmp_path / "alone").mkdir()
    path = tmp_path / "alone" / "model.pt"
    shutil.move(tmp_path / "model.pt", path)
    message = r"data folder /somewhere/else/data-bin of .* does not exist, and there are no dictionaries .* beside"
    with pytest.raises(DistillationError, match=message + r".*copy them there, or give their folder with --data"):
        export(path, tmp_path / "plain.pt")
    with pytest.raises(DistillationError, match=r"dictionaries of teacher .* are neither .*; copy dict.aa.txt and"):
        inspect_teachers([path], "aa", "bb")
    assert inspect_teachers([path], "aa", "bb", tmp_path).dictionaries == tmp_path
    assert export(path, tmp_path / "plain.pt", data=tmp_path).largest_difference == 0

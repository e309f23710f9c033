"""Checkpoints of any origin are read without running code; checkpoints are written whole or not at all."""

import argparse
import gzip
import os
import pickle
import random
import resource
import zipfile
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from weightdistill import checkpoint, files
from weightdistill.errors import DistillationError


@pytest.fixture
def state():
    """A current checkpoint, larger than the limit of `full_disk`."""
    return {
        "model": {"decoder.embed_tokens.weight": torch.randn(200, 50)},
        "cfg": {"model": {"_name": "transformer", "encoder_layers": 6}, "task": {"data": "corpus"}},
    }


class Settings(Enum):
    SENTENCE = "sentence"


class Bomb:
    """Creates a file when Python's own pickle loads it."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


CYCLE: list[object] = []
CYCLE.append(CYCLE)


def equal(left, right) -> bool:
    return list(left) == list(right) and all(torch.equal(left[name], right[name]) for name in left)


def test_a_checkpoint_is_read_as_it_was_written(tmp_path, state):
    path = tmp_path / "new" / "folder" / "checkpoint.pt"
    checkpoint.write(state, path)
    read = checkpoint.read(path)
    assert equal(read["model"], state["model"])
    assert read["cfg"] == state["cfg"]
    assert [file.name for file in path.parent.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_read_lazily_holds_the_same_also_after_it_is_replaced(tmp_path, state, zipped):
    path = tmp_path / "checkpoint.pt"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    lazy = checkpoint.read(path, lazily=True)
    checkpoint.write({**state, "model": {}}, path)
    assert equal(lazy["model"], state["model"]) and lazy["cfg"] == state["cfg"]


def test_checkpoints_of_every_generation_are_read(tmp_path, state):
    settings = {"arch": "transformer", "encoder_layers": 6}
    generations = {
        "namespace": {"model": state["model"], "args": argparse.Namespace(**settings)},
        "plain": {"model": state["model"], "args": None, "cfg": {"model": settings}},
        "mixed": {"model": state["model"], "args": None, "cfg": {"model": argparse.Namespace(**settings)}},
    }
    for name, written in generations.items():
        torch.save(written, tmp_path / name)
        torch.save(written, tmp_path / f"{name}.legacy", _use_new_zipfile_serialization=False)
        for file in (name, f"{name}.legacy"):
            read = checkpoint.read(tmp_path / file)
            assert equal(read["model"], state["model"])
            assert checkpoint.model_config(read) == settings


@pytest.mark.parametrize("module", [b"numpy.core.", b"numpy._core."])
def test_counts_of_bleu_in_numpy_arrays_are_read(tmp_path, state, module):
    """fairseq-train --eval-bleu stores them in checkpoints, with numpy 1 and with numpy 2."""
    counts = {"bleu": np.array([3, 2, 1, 0]), "total": np.float64(6)}
    path = tmp_path / "checkpoint.pt"
    torch.save({**state, "extra_state": counts}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes().replace(b"numpy._core.", module))
    read = checkpoint.read(path)["extra_state"]
    assert read["bleu"].tolist() == [3, 2, 1, 0] and read["total"] == 6


def test_a_state_without_model_settings_has_empty_ones():
    assert checkpoint.model_config({"model": {}}) == {}


def test_plain_settings_need_no_class(tmp_path):
    settings = {
        "a": argparse.Namespace(b=(1, 2.5), c=[argparse.Namespace(d=None)]),
        "e": {True: "f"},
        "g": Settings.SENTENCE,
        "h": Path("data"),
    }
    expected = {"a": {"b": [1, 2.5], "c": [{"d": None}]}, "e": {"True": "f"}, "g": "sentence", "h": "data"}
    assert checkpoint.plain(settings) == expected
    torch.save(checkpoint.plain(settings), tmp_path / "plain.pt")
    assert torch.load(tmp_path / "plain.pt", weights_only=True) == expected


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["model", "cfg", "extra_state"])
def test_a_hostile_pickle_runs_nothing(tmp_path, state, zipped, place):
    marker, path = tmp_path / "marker", tmp_path / "hostile.pt"
    torch.save({**state, place: {"x": Bomb(marker)}}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        DistillationError, match=r"must hold only tensors and settings.*could run code when loaded: .*getattr"
    ):
        checkpoint.read(path)
    assert not marker.exists()


def test_a_bare_hostile_pickle_runs_nothing(tmp_path):
    marker, path = tmp_path / "marker", tmp_path / "hostile.pt"
    path.write_bytes(pickle.dumps(Bomb(marker), protocol=2))
    with pytest.raises(DistillationError, match=r"hostile\.pt"):
        checkpoint.read(path)
    assert not marker.exists()
    pickle.loads(path.read_bytes())  # proves that the pickle is hostile: here it runs
    assert marker.exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DistillationError, match=r"nowhere\.pt does not exist; give the path"):
        checkpoint.read(tmp_path / "nowhere.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_truncated_anywhere_is_refused(tmp_path, state, zipped):
    whole, cut = tmp_path / "whole.pt", tmp_path / "cut.pt"
    torch.save(state, whole, _use_new_zipfile_serialization=zipped)
    content = whole.read_bytes()
    for length in [0, 1, 2, 10, 100, 500, *range(1000, len(content), 4001), len(content) - 1]:
        cut.write_bytes(content[:length])
        with pytest.raises(DistillationError, match=r"cut\.pt"):
            checkpoint.read(cut)


def test_files_of_other_programs_are_refused(tmp_path):
    path = tmp_path / "foreign.pt"
    chance = random.Random(1)
    foreign = [b"\n", b"hello\n", b"%PDF-1.7 ", b"\x80\x02", b"\x80\x04\x95", b"PK\x03\x04", b"\x89PNG\r\n\x1a\n"]
    foreign += [chance.randbytes(chance.randrange(1, 60)) for _ in range(300)]
    foreign += [b"\x80\x02" + chance.randbytes(chance.randrange(1, 60)) for _ in range(300)]
    for content in foreign:
        path.write_bytes(content)
        with pytest.raises(DistillationError, match=r"foreign\.pt"):
            checkpoint.read(path)


def test_damaged_files_are_refused_or_read(tmp_path, state):
    """Whichever byte is damaged, the only possible error is the library's own."""
    path = tmp_path / "damaged.pt"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    chance, refused = random.Random(1), 0
    for _ in range(300):
        damaged = bytearray(content)
        damaged[chance.randrange(500)] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            checkpoint.read(path)
        except DistillationError:
            refused += 1
    assert refused > 50


def test_another_zip_archive_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "other.pt", "w") as archive:
        archive.writestr("word/document.xml", "<xml/>")
    with pytest.raises(DistillationError, match=r"other\.pt"):
        checkpoint.read(tmp_path / "other.pt")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (torch.ones(2), "no `model` entry"),
        ({"state_dict": {}}, "no `model` entry"),
        ({"model": torch.ones(2), "cfg": {"model": {}}}, "no `model` entry"),
        ({"model": {"w": torch.ones(2)}}, "neither `cfg` nor `args`"),
        ({"model": {"w": torch.ones(2)}, "cfg": "text"}, "neither `cfg` nor `args`"),
    ],
)
def test_a_pytorch_file_that_fairseq_did_not_write_is_refused(tmp_path, content, words):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(
        DistillationError, match=rf"other\.pt has {words}.*not written by fairseq; give a fairseq checkpoint"
    ):
        checkpoint.read(tmp_path / "other.pt")


@pytest.fixture(params=["checkpoint", "safetensors"])
def save(request, state):
    """Write a file of either format to a path."""
    if request.param == "checkpoint":
        return lambda path: checkpoint.write(state, path)
    return lambda path: checkpoint.write_safetensors(state["model"], path)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, save):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DistillationError, match=r"cannot write .*student: .*check that the folder is writable"):
        save(tmp_path / "file" / "student")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_folder_in_place_of_the_file_is_refused(tmp_path, save):
    (tmp_path / "student" / "inside").mkdir(parents=True)
    with pytest.raises(DistillationError, match="cannot write"):
        save(tmp_path / "student")
    assert [file.name for file in tmp_path.iterdir()] == ["student"]


@pytest.fixture
def full_disk():
    """Limit files to 4,096 bytes; a write beyond this fails like one to a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("before", [None, b"the previous file"])
def test_a_full_disk_keeps_the_previous_file(tmp_path, save, before, full_disk):
    path = tmp_path / "student"
    if before:
        path.write_bytes(before)
    with pytest.raises(DistillationError, match=r"cannot write .*student: .*disk not full"):
        save(path)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == ([before] if before else [])


def test_writing_replaces_the_previous_file(tmp_path, save):
    path = tmp_path / "student"
    path.write_bytes(b"the previous file")
    save(path)
    assert path.stat().st_size > 4096
    assert os.listdir(tmp_path) == ["student"]


def test_safetensors_hold_a_tied_weight_under_each_name(tmp_path):
    weight = torch.randn(6, 4)
    weights = {"a": weight, "b": weight, "c": weight.T, "d": weight[::2], "e": torch.nn.Parameter(weight)}
    checkpoint.write_safetensors(weights, tmp_path / "student.safetensors")
    loaded = load_file(tmp_path / "student.safetensors")
    assert equal(dict(sorted(loaded.items())), {name: weight.detach() for name, weight in weights.items()})


def test_equal_states_give_equal_files(tmp_path):
    for name in ("first.pt", "second.pt"):
        checkpoint.write({"model": {"weight": torch.ones(2)}, "cfg": {"model": {}}}, tmp_path / name)
    assert files.fingerprint(tmp_path / "first.pt") == files.fingerprint(tmp_path / "second.pt")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": {"w": [1.0, 2.0]}}, r"weights must be tensors with names, but 'w' is of type list"),
        ({"model": {3: torch.ones(1)}}, r"weights must be tensors with names, but 3 is of type Tensor"),
        ({"model": {"w": torch.eye(2).to_sparse()}}, r"weights must be dense real tensors, but w is sparse"),
        ({"cfg": {"model": "transformer"}}, r"the settings model must be a mapping, but are of type str"),
        ({"cfg": {"model": {}, "task": [1]}}, r"the settings task must be a mapping, but are of type list"),
        ({"extra_state": [1]}, r"extra_state must be a mapping, but is of type list"),
        ({"cfg": None, "args": {"data": CYCLE}}, r"has settings that are nested too deeply"),
    ],
    ids=["list", "number", "sparse", "model", "task", "extra", "cycle"],
)
def test_weights_and_settings_of_other_types_are_refused(tmp_path, state, changes, words):
    torch.save({**state, **changes}, tmp_path / "other.pt")
    with pytest.raises(DistillationError, match=rf"other\.pt:? {words}"):
        checkpoint.read(tmp_path / "other.pt")


@pytest.mark.parametrize(
    "content",
    [b"<html></html>", gzip.compress(b"text"), pickle.dumps({"model": {}})],
    ids=["page", "gzipped", "pickle"],  # bytes would name the test by the time in the gzip header
)
def test_a_file_of_another_kind_is_not_called_harmful(tmp_path, content):
    (tmp_path / "other.pt").write_bytes(content)
    with pytest.raises(DistillationError, match=r"other\.pt must be a PyTorch file, but is none \(Unsupported operand"):
        checkpoint.read(tmp_path / "other.pt")


def test_safetensors_are_no_checkpoint(tmp_path, state):
    checkpoint.write_safetensors(state["model"], tmp_path / "student.safetensors")
    with pytest.raises(
        DistillationError, match=r"is in the safetensors format, which has weights only; give the fairs"
    ):
        checkpoint.read(tmp_path / "student.safetensors")


def test_paths_that_lead_nowhere_are_refused(tmp_path):
    (tmp_path / "loop.pt").symlink_to("loop.pt")
    for name in ("loop.pt", "x" * 300, "loop.pt/x"):
        with pytest.raises(DistillationError, match="does not exist; give the path of a fairseq checkpoint"):
            checkpoint.read(tmp_path / name)

"""A teacher of an older fairseq: settings in a Namespace, q, k and v in one matrix, numbered norms, no tied output."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq.data import Dictionary

from fairseq_plugins import students, teachers
from fairseq_plugins.export import export
from fairseq_plugins.loading import translation_task
from weightdistill import checkpoint

SETTINGS = "encoder_layers", "encoder_embed_dim", "decoder_ffn_embed_dim", "decoder_attention_heads", "dropout"


@pytest.fixture(scope="module")
def old(teacher: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The teacher as fairseq 0.6 would have written it."""
    state = checkpoint.read(teacher)
    settings = {**checkpoint.model_config(state), "arch": "transformer", "data": str(data)}
    settings.pop("_name")
    weights: dict[str, Any] = dict(state["model"])
    del weights["decoder.output_projection.weight"]
    for name in [name for name in weights if "attn.q_proj" in name]:
        parts = [weights.pop(name.replace("q_proj", f"{part}_proj")) for part in "qkv"]
        weights[name.replace("q_proj.", "in_proj_")] = torch.cat(parts)
    for number, norm in enumerate(("self_attn_layer_norm", "final_layer_norm")):
        for name in [name for name in weights if name.startswith("encoder.layers.") and norm in name]:
            weights[name.replace(norm, f"layer_norms.{number}")] = weights.pop(name)
    path = tmp_path_factory.mktemp("old") / "teacher.pt"
    history = [{"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}, "num_updates": 150}]
    content = {"args": Namespace(**settings), "model": weights, "optimizer_history": history, "extra_state": {}}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return path


def test_it_is_read_as_its_newer_self(old: Path, teacher: Path, data: Path) -> None:
    ancient, recent = teachers.read(str(old)), teachers.read(str(teacher))
    assert ancient.shape == recent.shape
    assert ancient.state.keys() == recent.state.keys()
    assert all(torch.equal(weight, recent.state[name]) for name, weight in ancient.state.items())
    dictionary = Dictionary.load(str(data / "dict.aa.txt"))
    ancient.require_dictionaries(dictionary, dictionary)


def test_it_predicts_as_its_newer_self(old: Path, teacher: Path, data: Path) -> None:
    task = translation_task(checkpoint.read(teacher), data, "teacher")
    tokens = torch.tensor([[5, 6, 7, 2]])
    inputs = {"src_tokens": tokens, "src_lengths": torch.tensor([4]), "prev_output_tokens": tokens}
    with torch.no_grad():
        logits = [teachers.read(str(path)).build(task)(**inputs)[0] for path in (old, teacher)]
    assert torch.equal(*logits)


def test_students_inherit_its_settings(old: Path, teacher: Path) -> None:
    settings = []
    for path in (old, teacher):
        args = Namespace(arch="student", teacher_path=str(path), student_preset="small")
        students.fill_in(args)
        settings.append([getattr(args, name) for name in SETTINGS])
    assert settings[0] == settings[1]


def test_it_is_exported(old: Path, tmp_path: Path) -> None:
    assert export(old, tmp_path / "plain.pt").largest_difference == 0

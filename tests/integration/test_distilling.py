"""Every distillation method through the real criterion: what it computes, what it trains, what it refuses."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from building import Built, student
from commands import PLUGIN, TRAINING, fork, phase1, weights_of
from torch.nn import functional

from fairseq_plugins.export import export
from fairseq_plugins.features import FeatureRecorder
from fairseq_plugins.teachers import Teacher, read
from weightdistill import checkpoint
from weightdistill.errors import DistillationError
from weightdistill.method.student_init import initial_student

MATCHES = [
    {"layer_T": 2, "layer_S": 1, "feature": "decoder.hidden", "loss": "hidden_mse", "proj": "linear", "weight": 2},
    {"layer_T": [0, 1], "layer_S": [0, 1], "feature": "decoder.hidden", "loss": "nst", "schedule": "linear_decay"},
    {"layer_T": [1, 2], "layer_S": [1, 2], "feature": "encoder.hidden", "loss": "fsp"},
    {"layer_T": 1, "layer_S": 1, "feature": "encoder.attention", "loss": "attention_mse"},
    {"layer_T": 2, "layer_S": 1, "feature": "decoder.attention", "loss": "attention_ce"},
    {"layer_T": 2, "layer_S": 1, "feature": "decoder.cross_attention", "loss": "attention_ce_mean"},
]


@pytest.mark.parametrize(
    "chosen",
    [
        ["--temperature", 2],
        ["--temperature", 3, "--soft-top-k", 4, "--soft-rest", "spread"],
        ["--soft-share", 0.4],
        ["--soft-loss", "mse"],
        ["--probability-shift"],
        ["--temperature-schedule", "flsw", "--temperature", 4, "--temperature-beta", 2, "--temperature-gamma", 2],
        ["--temperature-schedule", "cwsm", "--temperature", 40, "--temperature-beta", 0.5],
    ],
    ids=lambda chosen: " ".join(map(str, chosen)),
)
def test_the_criterion_is_what_its_options_define(
    data: Path, teacher: Path, tmp_path: Path, chosen: list[object]
) -> None:
    """Against the definition on whole tensors in float64, without chunks and fused gradients."""
    built = Built(student(data, tmp_path, teacher, "--distillation-weight", 0.3, "--dropout", 0, *chosen))
    student_logits, teacher_logits, targets = built.logits()
    named = dict(zip(map(str, chosen[::2]), map(str, chosen[1::2]), strict=False))
    base = float(named.get("--temperature", 1))
    temperatures = torch.full((len(targets),), base, dtype=torch.float64)
    if named.get("--temperature-schedule") == "flsw":
        disagreement = (1 - functional.cosine_similarity(student_logits, teacher_logits)) ** 2
        temperatures = base + 2 * (disagreement.mean() - disagreement)
    elif named.get("--temperature-schedule") == "cwsm":
        uncertainty = 1 / (student_logits.softmax(-1).max(-1).values + 1e-3)
        temperatures = base + 0.5 * (uncertainty.mean() - uncertainty)
    if "--probability-shift" in chosen:
        for row, target in zip(teacher_logits, targets.tolist(), strict=True):
            largest = int(row.argmax())
            row[[largest, target]] = row[[target, largest]]
    q = (teacher_logits / temperatures[:, None]).softmax(-1)
    if "--soft-top-k" in named:
        kept = q >= q.topk(4).values[:, -1:]
        q = torch.where(kept, q, ((q * ~kept).sum(-1) / (q.shape[1] - 4))[:, None])
    soft = -(q * (student_logits / temperatures[:, None]).log_softmax(-1)).sum(-1) * temperatures**2
    if "--soft-loss" in named:
        soft = (student_logits - teacher_logits).square().mean(-1)
    hard = functional.cross_entropy(student_logits, targets, reduction="none", label_smoothing=0)
    spread = 0.1 / (student_logits.shape[1] - 1)  # fairseq gives the smoothed mass to the wrong words only
    smoothed = (1 - 0.1 - spread) * hard - spread * student_logits.log_softmax(-1).sum(-1)
    if "--soft-share" in named:  # Wang et al.: the hardest tokens learn from the teacher too, all from the reference
        soft[hard.argsort(descending=True)[-(-2 * len(hard) // 5) :]] = 0
    expected = (0.7 * smoothed + 0.3 * soft).sum()
    loss, _, logged = built.criterion(built.model, built.sample)
    assert loss.item() == pytest.approx(expected.item(), rel=2e-5)
    assert logged["nll_loss"].item() == pytest.approx(hard.sum().item(), rel=1e-5)
    if "--temperature-schedule" in named:
        # validation has one temperature for all tokens, so that its loss can choose a checkpoint
        built.criterion.eval()
        soft = -((teacher_logits / base).softmax(-1) * (student_logits / base).log_softmax(-1)).sum(-1) * base**2
        loss = built.criterion(built.model, built.sample)[0]
        assert loss.item() == pytest.approx((0.7 * smoothed + 0.3 * soft).sum().item(), rel=2e-5)


def test_features_are_what_the_model_computes(data: Path, teacher: Path, tmp_path: Path) -> None:
    built = Built(student(data, tmp_path, teacher))
    model = built.task.teacher_model(0)
    pad = built.task.source_dictionary.pad()
    places = [
        *(("encoder.hidden", layer) for layer in range(3)),
        *(("decoder.hidden", layer) for layer in range(3)),
        ("decoder.cross_attention", 2),
        ("encoder.attention", 1),
        ("decoder.attention", 1),
    ]
    calls: dict[str, dict[str, Any]] = {}  # of self-attention
    modules = {f"{stack}.attention": getattr(model, stack).layers[0].self_attn for stack in ("encoder", "decoder")}
    for feature, module in modules.items():

        def keep(module: Any, inputs: Any, named: dict[str, Any], feature: str = feature) -> None:
            calls.setdefault(feature, named)

        module.register_forward_pre_hook(keep, with_kwargs=True)
    inputs = built.sample["net_input"]
    with FeatureRecorder(model, places, pad) as recorder:
        with torch.no_grad():
            encoded = model.encoder(inputs["src_tokens"], inputs["src_lengths"], return_all_hiddens=True)
            states, extra = model.decoder(inputs["prev_output_tokens"], encoder_out=encoded, features_only=True)
        for layer, states_of_layer in enumerate(encoded["encoder_states"]):
            (recorded,) = recorder.read("encoder.hidden", [layer], built.sample)
            torch.testing.assert_close(recorded.values, states_of_layer.transpose(0, 1))
            assert torch.equal(recorded.mask, inputs["src_tokens"] != pad)
        (recorded,) = recorder.read("decoder.hidden", [2], built.sample)
        torch.testing.assert_close(recorded.values, states)
        for layer in range(2):
            (recorded,) = recorder.read("decoder.hidden", [layer], built.sample)
            torch.testing.assert_close(recorded.values, extra["inner_states"][layer].transpose(0, 1))
        (recorded,) = recorder.read("decoder.cross_attention", [2], built.sample)
        scores = recorded.values.masked_fill(~(inputs["src_tokens"] != pad)[:, None, None], -torch.inf)
        torch.testing.assert_close(scores.softmax(-1).mean(1), extra["attn"][0], rtol=1e-4, atol=1e-5)
        assert torch.equal(recorded.mask.any(2), inputs["prev_output_tokens"] != pad)
        (recorded,) = recorder.read("decoder.attention", [1], built.sample)
        assert not recorded.mask.triu(1).any()  # the future is not attended to
        for feature, module in modules.items():
            (recorded,) = recorder.read(feature, [1], built.sample)
            with torch.no_grad():
                _, weights = module(**{**calls[feature], "need_weights": True})  # means over the heads
            attention = recorded.values.masked_fill(~recorded.mask[:, None], -torch.inf).softmax(-1).mean(1)
            real = recorded.mask.any(2)  # rows of padding hold nothing
            torch.testing.assert_close(attention[real], weights[real], rtol=1e-4, atol=1e-5)


def test_no_hook_is_left_on_a_model_not_even_by_a_step_that_fails(
    data: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "matches.json").write_text(json.dumps(MATCHES), encoding="utf-8")
    built = Built(student(data, tmp_path, teacher, "--matches", tmp_path / "matches.json", "--max-update", 9))

    def hooks() -> int:
        models = built.model, built.task.teacher_model(0)
        modules = [module for model in models for module in model.modules()]
        return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules)

    assert built.criterion(built.model, built.sample)[2]["match_loss"] > 0
    assert hooks() == 0

    def out_of_memory(*_: Any) -> None:
        assert hooks() > 0
        raise torch.OutOfMemoryError

    monkeypatch.setattr(built.task, "teacher_logits", out_of_memory)
    with pytest.raises(torch.OutOfMemoryError):
        built.criterion(built.model, built.sample)
    assert hooks() == 0


@pytest.mark.parametrize(
    ("chosen", "in_training", "in_validation"),
    [
        (["--distillation-weight", 0.5], [0, 1], [0, 1]),
        (["--distillation-weight", 0.5, "--matches", "distilbert"], [0, 1], [0, 1]),
        (["--distillation-weight", 0, "--matches", "distilbert"], [0], []),
        (["--distillation-weight", 0], [], []),
        (["--distillation-weight-schedule", "linear_growth", "--max-update", 9], [], [0, 1]),
    ],
    ids=str,
)
def test_only_the_teachers_that_something_is_learned_from_are_built_and_run(
    data: Path,
    teacher: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    chosen: list[object],
    in_training: list[int],
    in_validation: list[int],
) -> None:
    runs: list[int] = []
    build, built_teachers = Teacher.build, itertools.count()

    def counting(source: Teacher, task: Any) -> Any:
        model, number = build(source, task), next(built_teachers)
        model.register_forward_hook(lambda *_: runs.append(number))
        return model

    monkeypatch.setattr(Teacher, "build", counting)
    built = Built(student(data, tmp_path, f"{teacher},{teacher}", *chosen))
    built.criterion(built.model, built.sample)
    assert runs == in_training
    assert next(built_teachers) == len(in_training)
    runs.clear()
    built.criterion.eval()
    built.criterion(built.model, built.sample)
    assert len(runs) == len(in_validation)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["student", "generated_transformer"])
def test_matches_train_a_student_or_a_generator_and_their_projections(
    data: Path, teacher: Path, tmp_path: Path, arch: str
) -> None:
    (tmp_path / "matches.json").write_text(json.dumps(MATCHES), encoding="utf-8")
    command = [
        arch if part == "student" else part
        for part in student(data, tmp_path / "save", teacher, "--matches", tmp_path / "matches.json")
    ]
    log = fork(*command, "--max-update", 4)
    assert " | match_loss " in log or "match_loss=" in log
    first = checkpoint.read(tmp_path / "save" / "checkpoint_last.pt")
    assert first["criterion"]["projections.0.weight"].shape == (16, 8)
    assert not any("projection" in name and "output" not in name for name in first["model"])
    log = fork(*command, "--max-update", 8)  # resumes, projections and all
    assert "Loaded checkpoint" in log
    second = checkpoint.read(tmp_path / "save" / "checkpoint_last.pt")
    moved = (second["criterion"]["projections.0.weight"] - first["criterion"]["projections.0.weight"]).abs().max()
    assert 0 < moved < 4 * 5e-3 * 1.5  # four steps of Adam from where it was
    report = export(tmp_path / "save" / "checkpoint_last.pt", tmp_path / "student.pt")
    assert report.largest_difference <= 1e-5
    # phase 2 has matches too, but an export has no projections
    more = ["--matches", tmp_path / "matches.json", "--finetune-from-model", tmp_path / "student.pt", "--max-update", 2]
    log = fork(*student(data, tmp_path / "phase2", teacher, *more))
    assert "no projections of matches; they start from random values" in log


def test_matches_are_summed_in_float32_under_autocast(data: Path, teacher: Path, tmp_path: Path) -> None:
    (tmp_path / "matches.json").write_text(json.dumps(MATCHES[1:3]), encoding="utf-8")
    built = Built(
        student(data, tmp_path, teacher, "--matches", tmp_path / "matches.json", "--dropout", 0, "--max-update", 9)
    )
    exact = built.criterion(built.model, built.sample)[2]["match_loss"]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = built.criterion(built.model, built.sample)[2]["match_loss"]
    # the states that are compared are rounded, their sums and products are not
    assert rounded.dtype == torch.float32 and rounded.item() == pytest.approx(exact.item(), rel=0.02)


@pytest.mark.parametrize("preset", ["pkd-skip", "pkd-last", "distilbert"])
def test_presets_give_gradients_to_what_they_match(data: Path, teacher: Path, tmp_path: Path, preset: str) -> None:
    built = Built(student(data, tmp_path, teacher, "--matches", preset, "--distillation-weight", 0, "--dropout", 0))
    loss, _, logged = built.criterion(built.model, built.sample)
    assert logged["match_loss"] > 0
    assert loss.item() == pytest.approx((logged["match_loss"] + _cross_entropy(built)).item(), rel=1e-5)
    loss.backward()
    assert all(parameter.grad is not None for parameter in built.criterion.parameters())
    built.criterion.eval()
    assert "match_loss" not in built.criterion(built.model, built.sample)[2]


def _cross_entropy(built: Built) -> torch.Tensor:
    built.criterion.eval()
    loss: torch.Tensor = built.criterion(built.model, built.sample)[0].detach()
    built.criterion.train()
    return loss


@pytest.mark.parametrize(("name", "updates"), [("linear_decay", 75), ("linear_growth", 25)])
def test_a_schedule_scales_the_weight_in_training_and_leaves_validation_alone(
    data: Path, teacher: Path, tmp_path: Path, name: str, updates: int
) -> None:
    schedule = ["--distillation-weight", 0.8, "--distillation-weight-schedule", name, "--max-update", 100]
    built = Built(student(data, tmp_path, teacher, *schedule, "--dropout", 0))
    losses = {}
    for weight in (0.8, 0.2):
        fixed = Built(student(data, tmp_path, teacher, "--distillation-weight", weight, "--dropout", 0))
        fixed.model.load_state_dict(built.model.state_dict())
        losses[weight] = fixed.criterion(fixed.model, built.sample)[0].item()
    built.criterion.set_num_updates(updates)
    assert built.criterion(built.model, built.sample)[0].item() == pytest.approx(losses[0.2], rel=1e-5)
    built.criterion.eval()
    assert built.criterion(built.model, built.sample)[0].item() == pytest.approx(losses[0.8], rel=1e-5)


def test_the_validation_loss_counts_all_tokens(data: Path, teacher: Path, tmp_path: Path) -> None:
    half, full = (Built(student(data, tmp_path, teacher, "--soft-share", share, "--dropout", 0)) for share in (0.5, 1))
    half.model.load_state_dict(full.model.state_dict())
    losses = [built.criterion(built.model, built.sample)[0].item() for built in (half, full)]
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)
    for built in (half, full):
        built.criterion.eval()
    losses = [built.criterion(built.model, built.sample)[0].item() for built in (half, full)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_a_schedule_scales_the_weight_of_a_match(data: Path, teacher: Path, tmp_path: Path) -> None:
    initial_state: dict[str, Any] = {}
    losses: dict[str, float] = {}
    match = {"layer_T": 1, "layer_S": 1, "feature": "encoder.hidden", "loss": "cos", "weight": 2}
    for schedule in ("constant", "linear_growth", "linear_decay"):
        (tmp_path / "matches.json").write_text(json.dumps([{**match, "schedule": schedule}]), encoding="utf-8")
        more = ["--matches", tmp_path / "matches.json", "--match-weight", 0.5, "--max-update", 100, "--dropout", 0]
        built = Built(student(data, tmp_path, teacher, *more))
        initial_state = initial_state or built.model.state_dict()
        built.model.load_state_dict(initial_state)
        built.criterion.set_num_updates(25)
        losses[schedule] = built.criterion(built.model, built.sample)[2]["match_loss"].item()
    assert losses["linear_growth"] == pytest.approx(0.25 * losses["constant"], rel=1e-5)
    assert losses["linear_decay"] == pytest.approx(0.75 * losses["constant"], rel=1e-5)


@pytest.mark.slow
def test_a_student_starts_from_copied_weights_and_resumes_from_its_checkpoint(
    data: Path, teacher: Path, tmp_path: Path
) -> None:
    command = student(data, tmp_path, teacher, "--student-init", "last:select", "--lr", 1e-9)
    log = fork(*command, "--max-update", 1)
    assert f"student starts as last:select of {teacher}" in log
    weights = weights_of(tmp_path / "checkpoint_last.pt")
    built = Built(student(data, tmp_path, teacher))
    parameters = dict(built.model.named_parameters())
    source = read(str(teacher))
    expected = initial_student("last:select", source.state, source.shape, parameters, built.task.student_shape)
    for name, weight in expected.items():
        torch.testing.assert_close(weights[name], weight, rtol=0, atol=1e-7)
    assert "Loaded checkpoint" in fork(*command, "--max-update", 2)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (["--temperature", 0], "temperature must be positive and finite, but is 0"),
        (["--distillation-weight", 2], r"distillation weight must be within \[0, 1\], but is 2"),
        (["--label-smoothing", 1], r"label smoothing must be within \[0, 1\), but is 1"),
        (["--soft-share", 0], r"share of selected tokens must be within \(0, 1\], but is 0"),
        (["--soft-loss", "kl"], "--soft-loss must be one of ce, mse, but is 'kl'"),
        (["--soft-rest", "drop"], "--soft-rest must be one of renormalise, spread, but is 'drop'"),
        (["--soft-top-k", -1], "--soft-top-k must be finite and at least 0, but is -1"),
        (["--temperature-gamma", -1], "--temperature-gamma must be finite and at least 0, but is -1"),
        (["--soft-loss", "mse", "--temperature-schedule", "flsw"], "--soft-loss mse has no temperatures; leave out"),
        (["--soft-loss", "mse", "--soft-top-k", 4], "--soft-loss mse compares all logits; leave out --soft-top-k"),
        (["--temperature-schedule", "linear"], "--temperature-schedule must be one of constant, flsw, cwsm, but is"),
        (
            ["--distillation-weight-schedule", "linear_decay"],
            "needs the number of updates, which is unknown; give --max-update",
        ),
        (
            ["--matches", "distilbert", "--encoder-layerdrop", 0.1],
            r"which --encoder-layerdrop \(0.1\) does not allow",
        ),
        (
            ["--matches", "distilbert", "--checkpoint-activations"],
            "which --checkpoint-activations .* leave out one of",
        ),
        (["--matches", "absent.yaml"], "matches must be one of pkd-skip, .* or a file, but are 'absent.yaml'"),
        (
            ["--student-init", "middle", "--finetune-from-model", "student.pt"],
            "--student-init middle and --finetune-from-model student.pt both say how the student starts",
        ),
        (["--student-init", "best"], "student init must be random, generator, LAYERS .* but is 'best'"),
    ],
    ids=str,
)
def test_impossible_options_are_refused_before_training(
    data: Path, teacher: Path, tmp_path: Path, chosen: list[object], message: str
) -> None:
    with pytest.raises(DistillationError, match=message):
        Built(student(data, tmp_path, teacher, *chosen))


def test_a_generator_refuses_a_student_init(data: Path, teacher: Path, tmp_path: Path) -> None:
    command = phase1(data, tmp_path, teacher, "--student-preset", "tiny", "--student-init", "middle")
    with pytest.raises(DistillationError, match="--student-init middle is for a student that is trained itself; --gen"):
        Built(command)


def test_a_student_init_needs_a_teacher(data: Path, tmp_path: Path) -> None:
    words = ["fairseq-train", data, "--user-dir", PLUGIN, "--task", "distillation", "--arch", "transformer"]
    with pytest.raises(DistillationError, match="--student-init middle takes weights from a teacher; give"):
        Built([*words, "--save-dir", tmp_path, "--criterion", "cross_entropy", "--student-init", "middle", *TRAINING])


def test_another_criterion_is_refused_where_a_student_is_trained(data: Path, teacher: Path, tmp_path: Path) -> None:
    command = student(data, tmp_path, teacher)
    place = command.index("--criterion") + 1
    command = [part for part in command if part not in ("--label-smoothing", 0.1)]
    command[place] = "cross_entropy"
    with pytest.raises(DistillationError, match="needs --criterion distillation, but is given CrossEntropyCriterion, "):
        Built(command)

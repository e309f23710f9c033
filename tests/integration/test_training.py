"""Phase 1 and phase 2 with stock fairseq-train: what is trained, what is saved, and on how many processes."""

import math
import socket
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from building import Built, student
from commands import (
    BIN,
    PHASE1_UPDATES,
    PLUGIN,
    ROOT,
    TEACHER_SHAPE,
    TO_DECODE,
    TRAINING,
    Corpus,
    MakeOnce,
    Training,
    fork,
    hypotheses,
    phase1,
    run,
    weights_of,
)
from torch import Tensor

from fairseq_plugins.engine import open_engine
from fairseq_plugins.export import export
from fairseq_plugins.models import architectures
from fairseq_plugins.models.generated_transformer import generator_config
from fairseq_plugins.training_record import record
from weightdistill import checkpoint, files
from weightdistill.decoding.engines import Search
from weightdistill.experiment.binarised import target_tokens
from weightdistill.method.config import BUNDLES, GeneratorConfig

pytestmark = pytest.mark.slow


def optimised(state: dict[str, Any]) -> list[int]:
    """Sizes of the parameters that the optimiser keeps moments of."""
    return sorted(moments["exp_avg"].numel() for moments in state["last_optimizer_state"]["state"].values())


def matrices(weights: dict[str, Tensor]) -> list[Tensor]:
    return [weight for weight in weights.values() if weight.dim() == 2]


def test_a_phase_1_checkpoint_holds_the_generator_and_nothing_of_the_teacher(tiny: Training, teacher: Path) -> None:
    state = checkpoint.read(tiny.last)
    assert state["optimizer_history"][-1]["num_updates"] == PHASE1_UPDATES
    generator = weights_of(tiny.last)
    del generator["teacher_fingerprint"]
    assert all(name.startswith("generator.") for name in generator)
    assert optimised(state) == sorted(weight.numel() for weight in generator.values())
    for frozen in matrices(checkpoint.read(teacher)["model"]):
        assert not any(torch.equal(frozen, trained) for trained in matrices(generator) if trained.shape == frozen.shape)


def test_a_checkpoint_records_the_cost_of_its_training(tiny: Training) -> None:
    cost: dict[str, Any] = dict(record(checkpoint.read(tiny.last)))
    assert cost["updates"] == PHASE1_UPDATES
    assert 0 < cost["seconds"] < 3600
    assert 100 * 2**20 < cost["peak_memory"] < 16 * 2**30


def test_a_phase_1_checkpoint_names_its_teacher(tiny: Training, teacher: Path) -> None:
    state = checkpoint.read(tiny.last)
    assert checkpoint.model_config(state)["teacher_path"] == str(teacher)
    assert bytes(state["model"]["teacher_fingerprint"].tolist()).hex() == files.fingerprint(teacher)


def test_embeddings_that_a_tiny_student_cannot_share_are_untied_with_a_message(tiny: Training) -> None:
    assert "the teacher shares one embedding between encoder and decoder" in tiny.log
    config = checkpoint.model_config(checkpoint.read(tiny.last))
    assert not config["share_all_embeddings"] and config["share_decoder_input_output_embed"]
    assert (config["decoder_layers"], config["decoder_embed_dim"], config["decoder_ffn_embed_dim"]) == (1, 8, 16)
    assert (config["encoder_layers"], config["encoder_embed_dim"], config["encoder_ffn_embed_dim"]) == (2, 16, 32)


def test_training_reports_bleu_and_the_distillation_loss_and_writes_tensorboard(tiny: Training) -> None:
    assert "valid on 'valid' subset" in tiny.log
    assert " | bleu " in tiny.log and " | distillation_loss " in tiny.log
    assert list((tiny.folder.parent / "tensorboard").glob("valid/events*"))


def test_a_checkpoint_names_its_data_by_a_path_that_holds_everywhere(
    data: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data.parent)
    config = Built(student(Path(data.name), tmp_path, teacher)).config
    assert config.model.data == config.task.data == str(data)


def test_the_tokens_of_the_training_data_are_counted_from_their_indexes(corpus: Corpus) -> None:
    words = (corpus.pieces / "train.bb").read_text(encoding="utf-8")
    assert target_tokens(corpus.data) == len(words.split()) + words.count("\n")


def test_a_small_student_keeps_the_shared_embedding_and_trains_in_bf16(
    data: Path, teacher: Path, tmp_path: Path
) -> None:
    options = ["--student-preset", "small", "--cpu-bf16", "--max-update", 4, "--disable-validation"]
    log = fork(*phase1(data, tmp_path, teacher, *options, "--distillation-weight", 0, "--generator", "paper"))
    assert "the teacher shares one embedding" not in log
    report = export(tmp_path / "checkpoint_last.pt", tmp_path / "small.pt")
    assert report.largest_difference <= 1e-5
    weights = checkpoint.read(tmp_path / "small.pt")["model"]
    shared = [weight for name, weight in weights.items() if "embed_tokens" in name or "output_projection" in name]
    assert len(shared) == 3 and len({weight.data_ptr() for weight in shared}) == 1
    assert all(weight.dtype == torch.float32 and weight.isfinite().all() for weight in weights.values())


@pytest.fixture(scope="session")
def untied_teacher(data: Path, make_once: MakeOnce) -> Path:
    """A teacher with three embeddings, learned positions and final norms, hardly trained."""

    def train(folder: Path) -> None:
        fork(
            *("fairseq-train", data, "--save-dir", folder, "--task", "translation", "--arch", "transformer"),
            *(
                f"--{stack}-{switch}"
                for stack in ("encoder", "decoder")
                for switch in ("normalize-before", "learned-pos")
            ),
            *("--criterion", "label_smoothed_cross_entropy", "--max-update", 4, "--disable-validation"),
            *(*TRAINING, *TEACHER_SHAPE, "--no-epoch-checkpoints"),
        )

    return make_once("untied_teacher", train) / "checkpoint_last.pt"


@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_a_student_of_the_authors_generator_is_exported(
    data: Path, untied_teacher: Path, tmp_path: Path, preset: str
) -> None:
    options = ["--student-preset", preset, "--generator", "authors", "--max-update", 4, "--disable-validation"]
    fork(*phase1(data, tmp_path, untied_teacher, *options))
    assert export(tmp_path / "checkpoint_last.pt", tmp_path / "student.pt").largest_difference <= 1e-5
    teacher, student = weights_of(untied_teacher), weights_of(tmp_path / "student.pt")
    frozen = [name for name, weight in student.items() if name in teacher and torch.equal(weight, teacher[name])]
    assert frozen == (["decoder.output_projection.weight"] if preset == "small" else [])


def test_checkpoints_of_before_options_of_classes_have_none() -> None:
    """They name the bundle, and record all options that it had."""
    older = {field.name: getattr(GeneratorConfig(), field.name) for field in fields(GeneratorConfig)}
    del older["by_class"]
    recorded = Namespace(generator="authors", **{f"generator_{name}": value for name, value in older.items()})
    assert generator_config(recorded) == GeneratorConfig()
    assert generator_config(Namespace(generator="authors")) == BUNDLES["authors"]


def test_bf16_on_a_cpu_is_not_taken_for_a_tpu(data: Path, teacher: Path, tmp_path: Path) -> None:
    options = ["--student-preset", "tiny", "--matches", "distilbert"]
    log = fork(*phase1(data, tmp_path, teacher, *options, "--bf16", "--max-update", 6))
    assert " | match_loss " in log
    state = checkpoint.read(tmp_path / "checkpoint_last.pt")
    assert state["optimizer_history"][-1]["optimizer_name"] == "FP16Optimizer"
    assert state["optimizer_history"][-1]["num_updates"] == 6
    assert export(tmp_path / "checkpoint_last.pt", tmp_path / "student.pt").largest_difference <= 1e-5


@pytest.mark.parametrize(
    ("preset", "layers", "width", "pre_norm"),
    [("base", 6, 512, False), ("big", 6, 1024, False), ("deep", 48, 512, True)],
)
def test_the_papers_teachers_are_architectures_of_the_stock_transformer(
    preset: str, layers: int, width: int, pre_norm: bool
) -> None:
    args = Namespace(arch=f"teacher_{preset}", decoder_layers=4)  # an option of the command line wins
    getattr(architectures, args.arch)(args)
    assert (args.arch, args.encoder_layers, args.decoder_layers) == ("transformer", layers, 4)
    assert args.encoder_embed_dim == args.decoder_embed_dim == width
    assert args.encoder_ffn_embed_dim == 4 * width and args.encoder_attention_heads == width // 64
    assert args.encoder_normalize_before is args.decoder_normalize_before is pre_norm


def test_a_teacher_architecture_trains_with_fairseq_train(data: Path, tmp_path: Path) -> None:
    options = [option for option in TEACHER_SHAPE if "layers" not in option]
    fork(
        *("fairseq-train", data, "--user-dir", PLUGIN, "--save-dir", tmp_path, "--task", "translation"),
        *("--arch", "teacher_base", *options, "--criterion", "cross_entropy", *TRAINING, "--max-update", 1),
    )
    config = checkpoint.model_config(checkpoint.read(tmp_path / "checkpoint_last.pt"))
    assert (config["arch"], config["encoder_layers"], config["encoder_embed_dim"]) == ("transformer", 6, 16)


def test_a_command_runs_at_each_checkpoint_with_its_path(data: Path, teacher: Path, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    command = phase1(data, tmp_path / "a save", teacher, "--student-preset", "tiny", "--max-update", 6)
    command += ["--save-interval-updates", 3, "--no-epoch-checkpoints", "--checkpoint-command"]
    log = fork(*command, f"echo {{}} >> {seen} && test -s {{}} && exit 3")
    # after 3 updates, at the end of the first epoch, and after 6 updates
    names = ["checkpoint_1_3.pt", "checkpoint_best.pt", "checkpoint_2_6.pt"]
    assert seen.read_text(encoding="utf-8").splitlines() == [str(tmp_path / "a save" / name) for name in names]
    assert log.count("the checkpoint command ended with exit code 3; training continues") == 3


def test_a_pre_norm_teacher_with_learned_positions_is_distilled(data: Path, tmp_path: Path) -> None:
    fork(
        *("fairseq-train", data, "--save-dir", tmp_path / "teacher", "--task", "translation"),
        *("--arch", "transformer", "--encoder-normalize-before", "--decoder-normalize-before"),
        *("--encoder-learned-pos", "--decoder-learned-pos", "--layernorm-embedding", "--no-epoch-checkpoints"),
        *("--criterion", "cross_entropy", *TRAINING, *TEACHER_SHAPE, "--max-update", 5, "--disable-validation"),
        *("--max-source-positions", 64, "--max-target-positions", 48),
    )
    teacher = tmp_path / "teacher" / "checkpoint_last.pt"
    options = ["--student-preset", "tiny", "--max-update", 4, "--disable-validation"]
    fork(*phase1(data, tmp_path / "tiny", teacher, *options))
    assert export(tmp_path / "tiny" / "checkpoint_last.pt", tmp_path / "tiny.pt").largest_difference <= 1e-5
    weights = checkpoint.read(tmp_path / "tiny.pt")["model"]
    sizes = {stack: tuple(weights[f"{stack}.embed_positions.weight"].shape) for stack in ("encoder", "decoder")}
    assert sizes == {"encoder": (64 + 2, 16), "decoder": (48 + 2, 8)}
    assert {"encoder.layer_norm.weight", "decoder.layernorm_embedding.bias"} <= set(weights)

    # A model that repeats one word for ever is stopped by both engines before it runs out of positions.
    endless = checkpoint.read(tmp_path / "tiny.pt")
    endless["model"]["decoder.layer_norm.weight"] *= 0
    endless["model"]["decoder.layer_norm.bias"] = 100 * weights["decoder.output_projection.weight"][10]
    checkpoint.write(endless, tmp_path / "endless.pt")
    export(tmp_path / "endless.pt", tmp_path / "plain.pt", ctranslate2=tmp_path / "ct2")
    for model in (tmp_path / "plain.pt", tmp_path / "ct2"):
        ((hypothesis,),) = open_engine(model, data).search([["w1"] * 63], Search(beam=1))
        assert (len(hypothesis.pieces), hypothesis.finished) == (47, False)


def launcher_on_two_nodes(folder: Path) -> Path:
    """A launcher that starts a training with torchrun on two nodes of one process each, both on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # With GPUs, fairseq reads the rank of a process from torchrun's environment; without, it needs options.
    place = "--distributed-init-method env:// --distributed-no-spawn --distributed-rank $RANK"
    start = (
        f"torchrun --nnodes 2 --nproc-per-node 1 --master-addr 127.0.0.1 --master-port {port} --no-python --node-rank"
    )
    launcher = folder / "launcher"
    launcher.write_text(
        f"#!/bin/sh\n"
        f"process='exec \"$@\" {place}'\n"
        f'{start} 1 sh -c "$process" - "$@" & {start} 0 sh -c "$process" - "$@" && wait $!\n',
        encoding="utf-8",
    )
    launcher.chmod(0o755)
    return launcher


def test_two_nodes_train_as_one_with_half_the_update_frequency_and_resume(
    data: Path, teacher: Path, tmp_path: Path
) -> None:
    options = [*TRAINING, "--matches", "distilbert", "--dropout", 0, "--disable-validation", "--batch-tokens", 800]
    on_nodes = ["--distributed-backend", "gloo", "--ddp-backend", "legacy_ddp"]
    launched = ["env", f"LAUNCHER={launcher_on_two_nodes(tmp_path)}", "NODES=2"]

    def train(name: str, updates: int, launched: Sequence[object], on_nodes: Sequence[object]) -> str:
        stage = [ROOT / "scripts/phase1.sh", "--data", data, "--teacher", teacher, "--output", tmp_path / name, "--"]
        venv = f"WEIGHTDISTILL_VENV={BIN.parent}"
        run("env", venv, *launched, *stage, *options, *on_nodes, "--max-update", updates)
        return (tmp_path / name / "train.log").read_text(encoding="utf-8")

    log = train("two", 4, launched, on_nodes)
    assert all(f"distributed init (rank {rank}): env://" in log for rank in (0, 1))
    for name in ("training.json", "options.txt"):  # so that it resumes with more updates
        (tmp_path / "two" / name).unlink()
    assert "Loaded checkpoint" in train("two", 6, launched, on_nodes)
    train("one", 6, [], [])
    one, two = (checkpoint.read(tmp_path / name / "checkpoint_last.pt") for name in ("one", "two"))
    assert [state["cfg"]["optimization"]["update_freq"] for state in (one, two)] == [[2], [1]]
    one, two = ({**state["model"], **state["criterion"]} for state in (one, two))
    assert one.keys() == two.keys() and "projections.1.weight" in one
    torch.testing.assert_close(two, one, atol=1e-5, rtol=1e-4)  # a failure names the weight


def test_a_launcher_gets_the_number_of_devices(data: Path, teacher: Path, tmp_path: Path) -> None:
    launcher = tmp_path / "launcher"
    launcher.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\nexit 3\n', encoding="utf-8")
    launcher.chmod(0o755)
    stage = [ROOT / "scripts/train_student.sh", "--data", data, "--teacher", teacher, "--output", tmp_path / "save"]
    stage += ["--", "--max-tokens", 100, "--batch-tokens", 1000]
    environment = ["env", f"WEIGHTDISTILL_VENV={BIN.parent}", f"LAUNCHER={launcher} --nodes 4"]
    assert "set NODES to their number" in run(*environment, *stage, fails=True)
    assert "NODES is 4, but nothing starts" in run(*environment[:2], "NODES=4", *stage, fails=True)
    run(*environment, "NODES=4", *stage, fails=True)
    arguments = (tmp_path / "arguments").read_text(encoding="utf-8")
    devices = 4 * max(1, torch.cuda.device_count())
    assert arguments.startswith("--nodes 4 fairseq-train ")
    assert f"--distributed-world-size {devices} --distributed-port 29500" in arguments
    updates = math.ceil(1000 / (100 * devices))
    assert arguments.endswith(f"--update-freq {updates} --max-tokens {1000 // (updates * devices)}\n")
    assert "--batch-tokens" not in arguments and "--max-tokens-valid 100 " in arguments
    assert "GPUs have 10 tokens each of a batch" in run(
        *environment, f"NODES={100 // (devices // 4)}", *stage, fails=True
    )


def test_phase_2_starts_from_the_export_and_learns_from_several_teachers(
    data: Path, corpus: Corpus, teacher: Path, second_teacher: Path, tiny: Training, tmp_path: Path
) -> None:
    generated, tuned = tmp_path / "generated.pt", tmp_path / "tuned.pt"
    export(tiny.last, generated)
    log = run(
        *("fairseq-train", data, "--user-dir", PLUGIN, "--save-dir", tmp_path / "phase2", "--task", "distillation"),
        *("--arch", "student", "--student-preset", "tiny", "--teacher-path", f"{teacher},{second_teacher}"),
        *("--criterion", "distillation", "--temperature", 2, "--finetune-from-model", generated),
        *(*TRAINING, "--lr", 1e-6, "--max-update", 3, "--disable-validation"),
    )
    assert " | distillation_loss " in log
    state = checkpoint.read(tmp_path / "phase2" / "checkpoint_last.pt")
    assert state["optimizer_history"][-1]["num_updates"] == 3
    assert [entry["sha256"] for entry in state["task_state"]["teachers"]] == [
        files.fingerprint(teacher),
        files.fingerprint(second_teacher),
    ]
    before, after = weights_of(generated), weights_of(tmp_path / "phase2" / "checkpoint_last.pt")
    assert before.keys() == after.keys()
    for name, weight in after.items():  # three updates of at most 1e-6 from where phase 1 ended
        torch.testing.assert_close(weight, before[name], atol=1e-5, rtol=0)
    assert any(not torch.equal(weight, before[name]) for name, weight in after.items())
    assert export(tmp_path / "phase2" / "checkpoint_last.pt", tuned).largest_difference == 0
    inspected = fork("weightdistill", "inspect", tuned)
    assert f"teacher: {second_teacher}  (SHA-256 {files.fingerprint(second_teacher)})" in inspected
    (tmp_path / "source").write_text("\n".join(corpus.sentences("test")[:4]) + "\n", encoding="utf-8")
    decoding = ["--beam", 1, "--cpu", "--input", tmp_path / "source", *TO_DECODE]
    output = run("fairseq-interactive", data, "--path", tuned, *decoding)
    assert sorted(hypotheses(output)) == [0, 1, 2, 3]


def test_stock_fairseq_train_can_run_phase_2_without_the_plugin(data: Path, tiny: Training, tmp_path: Path) -> None:
    generated = tmp_path / "generated.pt"
    export(tiny.last, generated)
    decoder = {"layers": 1, "embed-dim": 8, "ffn-embed-dim": 16, "attention-heads": 2}
    run(
        *("fairseq-train", data, "--save-dir", tmp_path / "phase2", "--task", "translation", "--arch", "transformer"),
        *(*TEACHER_SHAPE, *(f"--decoder-{option}={value}" for option, value in decoder.items())),
        *("--share-decoder-input-output-embed", "--criterion", "label_smoothed_cross_entropy"),
        *("--finetune-from-model", generated, *TRAINING, "--lr", 1e-6, "--max-update", 3, "--disable-validation"),
    )
    before, after = weights_of(generated), weights_of(tmp_path / "phase2" / "checkpoint_last.pt")
    assert before.keys() == after.keys()
    for name, weight in after.items():
        torch.testing.assert_close(weight, before[name], atol=1e-5, rtol=0)
    assert any(not torch.equal(weight, before[name]) for name, weight in after.items())

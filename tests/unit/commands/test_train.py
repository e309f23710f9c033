"""`weightdistill train`: the fairseq-train command that it makes, and what becomes of that command's end.

A launcher stands for fairseq-train, since it gets the whole command.
"""

import fcntl
import json
import os
import struct
import sys
import threading
from pathlib import Path

import pytest
import torch

import fairseq_plugins
from fairseq_plugins.commands import main as cli
from fairseq_plugins.training_command import Machine, Training, command, summary
from weightdistill.errors import DistillationError

GPU = Machine(gpus=1)
LAST = "sys.argv[sys.argv.index('--save-dir') + 1] + '/checkpoint_last.pt'"
BEGINS = f"open({LAST}, 'w'); sys.exit(7)"
"""A fairseq-train that is interrupted."""


@pytest.fixture
def data(tmp_path):
    """A data-bin of 420 x 2000 target tokens, as far as its sizes tell."""
    folder = tmp_path / "data"
    folder.mkdir()
    for language in ("aa", "bb"):
        index = folder / f"train.aa-bb.{language}.idx"
        index.write_bytes(b"MMIDIDX\x00\x00" + struct.pack("<QBQ", 1, 8, 2))
        with index.with_suffix(".bin").open("wb") as tokens:
            tokens.truncate(2 * 420 * 2000)
        (folder / f"dict.{language}.txt").write_text("word 1\n")
    return folder


def options_of(words):
    """The options behind the data of a command; the last value of each, or True for a switch."""
    options = {}
    rest = words[words.index("fairseq-train") + 2 :]
    for word, value in zip(rest, [*rest[1:], "--"], strict=True):
        if word.startswith("--"):
            options[word] = True if value.startswith("--") else value
    return options


def made(data, stage="phase1", *options, machine=GPU, **fields):
    """The options of the command that a stage makes."""
    inputs = {"teacher": {}, "phase2": {"teacher": "t.pt", "student": Path("s.pt")}}.get(stage, {"teacher": "t.pt"})
    training = Training(stage, data, data.parent / "save", **{**inputs, **fields}, options=options)
    return options_of(command(training, machine))


def test_the_stages_differ_in_model_start_and_loss(data):
    teacher, student, first, second = (made(data, stage) for stage in ("teacher", "student", "phase1", "phase2"))
    for options in (teacher, student, first, second):
        assert options["--user-dir"] == str(Path(fairseq_plugins.__file__).parent)
        assert options["--save-dir"] == str(data.parent / "save")
        assert (options["--required-batch-size-multiple"], options["--log-format"]) == ("1", "json")
    assert (teacher["--task"], teacher["--arch"]) == ("translation", "transformer")
    assert teacher["--criterion"] == "label_smoothed_cross_entropy" and teacher["--keep-last-epochs"] == "5"
    for options in (student, first, second):
        assert (options["--task"], options["--criterion"]) == ("distillation", "distillation")
        assert (options["--student-preset"], options["--teacher-path"]) == ("tiny", "t.pt")
        assert options["--no-epoch-checkpoints"] is True
    assert (first["--arch"], first["--generator"]) == ("generated_transformer", "default")
    assert (second["--arch"], second["--finetune-from-model"]) == (student["--arch"], "s.pt") == ("student", "s.pt")
    assert [options["--distillation-weight"] for options in (student, first, second)] == ["0", "0.5", "0.5"]


def test_the_options_of_the_stages_are_passed_on(data):
    options = made(data, "phase1", preset="small", generator="paper", distillation_weight=0.25, temperature=2)
    assert (options["--student-preset"], options["--generator"]) == ("small", "paper")
    assert (options["--distillation-weight"], options["--temperature"]) == ("0.25", "2")
    assert made(data, "student", teacher="", teacher_cache=Path("cache"))["--teacher-cache"] == "cache"


def test_without_options_the_authors_values_and_the_schedule_of_the_data_hold(data):
    options = made(data, "phase1", machine=Machine(gpus=1, width=256))
    assert (options["--optimizer"], options["--adam-betas"]) == ("adam", "(0.9, 0.98)")
    assert (options["--lr-scheduler"], options["--label-smoothing"]) == ("inverse_sqrt", "0.1")
    assert (options["--lr"], options["--max-update"], options["--warmup-updates"]) == ("0.0014", "2520", "315")
    assert (options["--update-freq"], options["--max-tokens"], options["--max-tokens-valid"]) == ("1", "2000", "2000")
    assert options["--tensorboard-logdir"] == str(data.parent / "save/tensorboard")
    second = made(data, "phase2", machine=Machine(gpus=1, width=256))
    assert (second["--max-update"], second["--warmup-updates"]) == ("4200", "262")


@pytest.mark.parametrize(
    ("options", "absent", "values"),
    [
        (["--lr=1e-3"], [], {"--lr=1e-3": True, "--warmup-updates": "315"}),
        (["--max-update", "800"], [], {"--max-update": "800", "--warmup-updates": "100"}),
        (["--max-epoch", "3"], ["--max-update"], {"--max-epoch": "3"}),
        (["--max-tokens", "512"], ["--update-freq"], {"--max-tokens": "512"}),
        (["--max-sentences", "8"], ["--update-freq", "--max-tokens"], {"--max-sentences": "8"}),
        (["--update-freq", "2"], [], {"--update-freq": "2", "--max-tokens": "2000"}),
        (["--batch-tokens", "9000"], ["--batch-tokens"], {"--update-freq": "3", "--max-tokens": "3000"}),
        (["--batch-tokens=900", "--max-tokens=300"], ["--batch-tokens=900"], {"--update-freq": "3"}),
        (["--optimizer", "sgd"], ["--adam-betas", "--clip-norm"], {"--optimizer": "sgd"}),
        (["--adam-betas", "(0.9, 0.9)"], [], {"--optimizer": "adam", "--adam-betas": "(0.9, 0.9)"}),
        (["--lr-scheduler", "fixed"], ["--warmup-updates"], {"--lr-scheduler": "fixed"}),
        (["--criterion", "cross_entropy"], ["--label-smoothing"], {"--criterion": "cross_entropy"}),
        (["--keep-last-epochs", "2"], ["--no-epoch-checkpoints"], {"--keep-last-epochs": "2"}),
        (["--tensorboard-logdir", "here"], [], {"--tensorboard-logdir": "here"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_option_takes_the_place_of_its_default(data, options, absent, values):
    result = made(data, "phase1", *options)
    assert result.keys().isdisjoint(absent)
    assert {name: result.get(name) for name in values} == values


def test_a_complete_set_of_options_needs_neither_sizes_nor_a_teachers_width(data):
    for index in data.glob("*.idx"):
        index.unlink()
    given = ["--lr", "1", "--warmup-updates", "2", "--max-update", "3", "--max-tokens", "4"]
    assert made(data, "student", *given)["--max-tokens"] == "4"


def test_a_narrow_teacher_that_is_trained_gets_its_own_learning_rate(data):
    assert made(data, "teacher")["--lr"] == made(data, "teacher", "--arch", "teacher_big")["--lr"] == "0.0007"
    assert made(data, "teacher", "--encoder-embed-dim=128")["--lr"] == "0.0028"


@pytest.mark.parametrize(
    ("options", "gpus", "device"),
    [
        ([], 0, {"--cpu"}),
        ([], 1, {"--fp16"}),
        (["--amp"], 2, {"--amp"}),
        (["--bf16"], 1, {"--bf16"}),
        (["--cpu", "--cpu-bf16"], 4, {"--cpu", "--cpu-bf16"}),
    ],
)
def test_the_device_and_its_precision(data, options, gpus, device):
    result = made(data, "phase1", *options, machine=Machine(gpus))
    assert {name for name in result if name in {"--cpu", "--cpu-bf16", "--fp16", "--amp", "--bf16"}} == device


def test_all_devices_share_the_batch(data):
    options = made(data, "phase1", "--batch-tokens", "32768", machine=Machine(gpus=4))
    assert (options["--update-freq"], options["--max-tokens"], options["--max-tokens-valid"]) == ("2", "4096", "4096")
    eight = made(data, "phase1", machine=Machine(gpus=8))
    assert int(eight["--max-tokens"]) == 1024, "a small corpus must not leave too few tokens for a long sentence"
    with pytest.raises(DistillationError, match=r"8 GPUs have 12 tokens each of a batch of 100, .* larger --batch-"):
        made(data, "phase1", "--batch-tokens", "100", "--max-tokens", "100", machine=Machine(gpus=8))


def test_a_launcher_gets_the_number_of_all_devices(data):
    machine = Machine.of(2, {"LAUNCHER": "srun --nodes 4", "NODES": "4", "MASTER_PORT": "1234"})
    words = command(Training("teacher", data, data), machine)
    assert words[:4] == ["srun", "--nodes", "4", "fairseq-train"]
    options = options_of(words)
    assert (options["--distributed-world-size"], options["--distributed-port"]) == ("8", "1234")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"LAUNCHER": "srun"}, "set NODES to their number"),
        ({"NODES": "4"}, "NODES is 4, but nothing starts the training on them; set LAUNCHER"),
        ({"NODES": "two"}, "NODES must be a number of machines, but is two"),
    ],
)
def test_a_launcher_and_its_number_of_machines_go_together(variables, message):
    with pytest.raises(DistillationError, match=message):
        Machine.of(0, variables)


def test_the_schedule_and_the_device_are_one_line(data):
    training = Training("phase2", data, data, teacher="t.pt", student=Path("s.pt"))
    assert summary("phase2", command(training, GPU)) == (
        "phase2: 4,200 updates of 2,000 tokens per device, learning rate 0.0007, 262 of them warm-up, on GPUs in fp16"
    )
    training = Training("teacher", data, data, options=("--max-epoch", "3", "--max-tokens", "9", "--update-freq", "2"))
    assert summary("teacher", command(training, Machine())) == (
        "teacher: 3 epochs of 2 x 9 tokens per device, learning rate 0.0007, on the CPU"
    )


@pytest.mark.parametrize(
    ("stage", "fields", "message"),
    [
        ("phase3", {}, "the stage must be one of teacher, student, phase1, phase2, but is phase3"),
        ("phase1", {}, "train phase1 needs a teacher; give its checkpoint with --teacher"),
        ("phase1", {"teacher_cache": Path("c")}, "train phase1 needs a teacher"),
        ("student", {}, "train student needs a teacher"),
        ("phase1", {"teacher": "t", "preset": "huge"}, "--preset must be one of tiny, small, but is huge"),
        ("phase2", {"teacher": "t"}, "--student goes with phase2, and is what `weightdistill export` .*; give it"),
        ("phase1", {"teacher": "t", "student": Path("s")}, "--student goes with phase2, .*; leave it out"),
        ("teacher", {"teacher": "t"}, "train teacher learns from no teacher; leave out --teacher"),
        ("teacher", {"options": ("--max-tokens", "many")}, "argument --max-tokens: invalid int value: 'many'"),
        ("teacher", {"options": ("--fp16",)}, "--fp16 needs a GPU, but .* on a CPU; leave it out, or give --cpu-bf16"),
    ],
)
def test_what_is_impossible_is_refused(data, stage, fields, message):
    with pytest.raises(DistillationError, match=message):
        command(Training(stage, data, data, **fields), Machine())


def test_a_missing_data_folder(tmp_path):
    with pytest.raises(DistillationError, match=r"absent: no such folder; give one of prepare\.sh or fairseq-prepr"):
        Training("teacher", tmp_path / "absent", tmp_path)


def train(monkeypatch, data, save, *options, does="", stage=("teacher",)):
    """Run the command with a launcher that runs these lines of Python instead; its exit code."""
    script = data.parent / "launcher.py"
    script.write_text(f"import json, shutil, sys\nprint('begun')\n{does}\n")
    monkeypatch.setenv("LAUNCHER", f"{sys.executable} {script}")
    monkeypatch.setenv("NODES", "2")
    name, *inputs = stage
    words = ["train", name, data, "--output", save, *inputs, "--", "--cpu", "--lr", "1", *options]
    monkeypatch.setattr(sys, "argv", ["weightdistill", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


@pytest.fixture
def finishes(tmp_path):
    """What a fairseq-train that ends well leaves."""
    state = {
        "model": {},
        "cfg": {"model": {}},
        "extra_state": {"previous_training_time": 5.04, "best": 2.5},
        "optimizer_history": [{"num_updates": 12}],
    }
    torch.save(state, tmp_path / "state.pt")
    return f"shutil.copy({str(tmp_path / 'state.pt')!r}, {LAST})"


def test_a_training_is_recorded_and_not_repeated(monkeypatch, capsys, data, tmp_path, finishes):
    save = tmp_path / "save"
    assert train(monkeypatch, data, save, does=finishes) == 0
    assert "begun" in (save / "train.log").read_text() and "begun" not in capsys.readouterr().out
    assert json.loads((save / "training.json").read_text()) == {
        "seconds": 5.0,
        "updates": 12,
        "best_validation_loss": 2.5,
        "peak_memory": None,
    }
    assert train(monkeypatch, data, save, does="sys.exit(9)") == 0
    assert capsys.readouterr().out == f"trained already: {save}\n"


def test_a_training_with_other_options_or_inputs_is_refused(monkeypatch, capsys, data, tmp_path):
    save, teacher = tmp_path / "save", tmp_path / "teacher.pt"
    teacher.write_text("a teacher")
    stage = ("phase1", "--teacher", teacher)
    assert train(monkeypatch, data, save, "--seed", 1, stage=stage, does=BEGINS) == 7
    assert train(monkeypatch, data, save, "--seed", 1, stage=stage, does=BEGINS) == 7, "it resumes"
    refused = f"weightdistill: error: {save} holds a training with other options or inputs (its options.txt says which)"
    assert train(monkeypatch, data, save, "--seed", 2, stage=stage) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(refused)
    teacher.write_text("another teacher")
    assert train(monkeypatch, data, save, "--seed", 1, stage=stage) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(refused)


def test_a_folder_of_an_older_version_whose_shell_quoted_the_options_resumes(monkeypatch, capsys, data, tmp_path):
    save = tmp_path / "save"
    betas = "--adam-betas=(0.9, 0.9)"
    assert train(monkeypatch, data, save, betas, does=BEGINS) == 7
    options = save / "options.txt"
    text = options.read_text()
    assert f"'{betas}'" in text
    options.write_text(text.replace(f"'{betas}'", r"--adam-betas=\(0.9\,\ 0.9\)"))
    assert train(monkeypatch, data, save, betas, does=BEGINS) == 7
    assert "other options" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "last", ["weightdistill: error: no teacher; give one", "fairseq-train: error: unrecognized arguments: --x"]
)
def test_a_training_that_says_why_it_fails_ends_in_one_line(monkeypatch, capsys, data, tmp_path, last):
    save = tmp_path / "save"
    assert train(monkeypatch, data, save, does=f"print({last!r}); sys.exit(1)") == 2
    reason = last.partition(": error: ")[2]
    assert capsys.readouterr().err == f"weightdistill: error: {reason} (log: {save}/train.log)\n"


def test_a_training_that_fails_otherwise_shows_the_end_of_its_log(monkeypatch, capsys, data, tmp_path):
    save = tmp_path / "save"
    assert train(monkeypatch, data, save, does="raise MemoryError('all of it')") == 1
    *_, reason, where = capsys.readouterr().err.splitlines()
    assert (reason, where) == (
        "MemoryError: all of it",
        f"the training failed; its whole output is in {save}/train.log",
    )
    assert not (save / "training.json").exists()


def test_two_trainings_in_one_folder_wait_for_each_other(monkeypatch, capsys, data, tmp_path, finishes):
    save = tmp_path / "save"
    save.mkdir()
    with (save / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        release = threading.Timer(0.5, lambda: fcntl.flock(lock, fcntl.LOCK_UN))
        release.start()
        assert train(monkeypatch, data, save, does=finishes) == 0
        release.join()
    assert capsys.readouterr().out.startswith(f"waiting for the training that is running in {save}\n")


def test_a_cache_alone_says_the_teachers_width(monkeypatch, capsys, data, tmp_path):
    (tmp_path / "cache/train").mkdir(parents=True)
    nothing = {"sentences": 0, "k": 1, "vocabulary": 9, "temperature": 1, "teachers": [], "shards": []}
    described = {"format": 1, **nothing, "teacher_settings": {"encoder_embed_dim": 256}}
    (tmp_path / "cache/train/cache.json").write_text(json.dumps(described))
    words = [
        "train",
        "student",
        data,
        "--output",
        tmp_path / "save",
        "--teacher-cache",
        tmp_path / "cache",
        "--",
        "--cpu",
    ]
    monkeypatch.setattr(sys, "argv", ["weightdistill", *map(str, words)])
    monkeypatch.setenv("LAUNCHER", "false")
    monkeypatch.setenv("NODES", "2")
    with pytest.raises(SystemExit):
        cli.main()
    assert "learning rate 0.0014" in capsys.readouterr().out


def test_a_training_keeps_big_tensors_and_finds_the_interpreters_commands(monkeypatch, data, tmp_path):
    monkeypatch.setenv("MALLOC_TOP_PAD_", "5")
    names = ["MALLOC_MMAP_MAX_", "MALLOC_TOP_PAD_", "PATH"]
    does = f"import os; print(json.dumps([os.environ[name] for name in {names}])); sys.exit(1)"
    train(monkeypatch, data, tmp_path / "save", does=does)
    values = json.loads((tmp_path / "save/train.log").read_text().splitlines()[-1])
    assert values[:2] == ["0", "5"] and values[2].split(os.pathsep)[0] == str(Path(sys.executable).parent)

"""Unusable input ends in an error that names field, rule, value and remedy, and leaves no file behind."""

import contextlib
import itertools
import re
import resource
import shutil
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from building import Built, student
from commands import BIN, PHASE1_UPDATES, PLUGIN, ROOT, TEACHER_SHAPE, TRAINING, Corpus, Training, fork, phase1, run
from fairseq.data import Dictionary

from fairseq_plugins import students, teachers
from fairseq_plugins.export import export
from fairseq_plugins.fairseq_engine import FairseqEngine
from fairseq_plugins.inspection import describe
from fairseq_plugins.loading import load_model, translation_task
from weightdistill import checkpoint, files
from weightdistill.errors import DistillationError
from weightdistill.text.processing import TextProcessing

STAGES = ROOT / "scripts"
ABSENT = object()


def student_of(teacher: Path | str, **options: Any) -> Namespace:
    """Settings of a student as the command line gives them, completed."""
    args = Namespace(arch="student", teacher_path=str(teacher), **options)
    students.fill_in(args)
    return args


@contextlib.contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """Within the block, a file cannot grow over `limit` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_missing_teacher(tmp_path: Path) -> None:
    with pytest.raises(DistillationError, match=r"teacher: checkpoint .*absent\.pt does not exist; give the path"):
        student_of(tmp_path / "absent.pt")


def test_no_teacher() -> None:
    with pytest.raises(DistillationError, match=r"takes its settings from a teacher; give --teacher-path"):
        students.fill_in(Namespace(arch="student"))


def test_a_truncated_teacher(teacher: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.pt").write_bytes(teacher.read_bytes()[:-5000])
    with pytest.raises(DistillationError, match=r"teacher: checkpoint .*cut\.pt cannot be read; it is truncated"):
        student_of(tmp_path / "cut.pt", student_preset="tiny")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoder_embed_dim": 9}, r"student's decoder: width must be a multiple of .*heads \(2\), but is 9; change"),
        ({"encoder_attention_heads": 3}, r"student's encoder: width must be a multiple of .*heads \(3\), but is 16"),
        ({"decoder_layers": 0}, r"student's decoder: layers must be at least 1, but is 0"),
        ({"student_preset": "huge"}, r"student preset must be one of tiny, small, but is 'huge'"),
    ],
    ids=str,
)
def test_an_impossible_student(teacher: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        student_of(teacher, **options)


@pytest.mark.slow
def test_a_deeper_student_than_its_teacher_is_refused_by_fairseq_train(
    data: Path, teacher: Path, tmp_path: Path
) -> None:
    log = fork(*phase1(data, tmp_path / "save", teacher, "--encoder-layers", 3, "--max-update", 2), fails=True)
    assert "weightdistill: error: encoder: the student's depth must be between 1 and the teacher's depth (2)" in log
    assert "but is 3; choose a shallower student" in log
    assert not list(tmp_path.glob("save/*"))


@pytest.mark.slow
def test_another_dictionary_is_refused_by_fairseq_train(corpus: Corpus, teacher: Path, tmp_path: Path) -> None:
    """A dictionary of the same size in which two words have changed places."""
    shutil.copytree(corpus.data, tmp_path / "data")
    for language in ("aa", "bb"):
        file = tmp_path / "data" / f"dict.{language}.txt"
        lines = file.read_text(encoding="utf-8").splitlines()
        lines[5], lines[6] = lines[6], lines[5]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    teachers_word, students_word = lines[6].split()[0], lines[5].split()[0]
    log = run(*phase1(tmp_path / "data", tmp_path / "save", teacher, "--student-preset", "tiny"), fails=True)
    size = len(Dictionary.load(str(file)))
    assert f"source dictionary of teacher {teacher} has {size} entries, the student's {size}" in log
    words = f"'{teachers_word}' in the teacher's and '{students_word}' in the student's"
    assert f"first differ at entry 9, which is {words}" in log
    assert "--srcdict" in log and not list(tmp_path.glob("save/*"))


def test_a_longer_dictionary_and_a_missing_one(data: Path, teacher: Path, tmp_path: Path) -> None:
    dictionary = Dictionary.load(str(data / "dict.aa.txt"))
    longer = Dictionary.load(str(data / "dict.bb.txt"))
    longer.add_symbol("new")
    read = teachers.read(str(teacher))
    size = len(dictionary)
    read.require_dictionaries(dictionary, dictionary)
    with pytest.raises(
        DistillationError, match=rf"target .* has {size} .*'s {size + 1}; .*entry {size}, .* nothing in"
    ):
        read.require_dictionaries(dictionary, longer)
    with pytest.raises(DistillationError, match=r"teacher data .* has no dict.*; give the folder of its dictionaries"):
        read.require_dictionaries(dictionary, dictionary, str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"encoder_layers": "two"},
            r"encoder_layers must be a whole number, but is 'two'; use a checkpoint as fairseq",
        ),
        ({"decoder_layers": 3}, r"decoder_layers must be the 2 of the weights, but the settings say 3"),
        ({"encoder_attention_heads": 3}, r"encoder: width must be a multiple of the number of heads \(3\), but is 16"),
        ({"decoder_ffn_embed_dim": 8}, r"decoder_ffn_embed_dim must be the 32 of the weights, but the settings say 8"),
    ],
    ids=str,
)
def test_settings_that_contradict_the_weights(
    data: Path, teacher: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    state = checkpoint.read(teacher)
    checkpoint.write({**state, "args": None, "cfg": changed_model(state, changes)}, tmp_path / "changed.pt")
    with pytest.raises(DistillationError, match=rf"teacher .*changed\.pt: {message}"):
        teachers.read(str(tmp_path / "changed.pt"))


@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_a_claimed_depth_is_compared_with_the_weights_before_any_model_is_built(
    data: Path, teacher: Path, tmp_path: Path, stack: str
) -> None:
    state = checkpoint.read(teacher)
    settings = changed_model(state, {f"{stack}_layers": 10**9})
    checkpoint.write({**state, "args": None, "cfg": settings}, tmp_path / "changed.pt")
    message = rf"changed\.pt: {stack}_layers must be the 2 of the weights, but the settings say 1000000000; use a"
    with pytest.raises(DistillationError, match=message):
        FairseqEngine(tmp_path / "changed.pt", data)


@pytest.mark.parametrize(
    ("weights", "settings", "message"),
    [
        ({"encoder.version": torch.tensor(3.0)}, {}, r"the weights of .*changed\.pt do not fit the model"),
        ({"encoder.version": torch.tensor([1j])}, {}, r"weights must be dense real tensors, but encoder\.version is"),
        (
            {},
            {"_name": ["lstm"], "encoder_layers": ABSENT},
            r"changed\.pt is of architecture \"\['lstm'\]\", which neither",
        ),
    ],
    ids=["scalar version", "complex", "listed architecture"],
)
def test_weights_and_settings_of_another_form(
    data: Path, teacher: Path, tmp_path: Path, weights: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    state = checkpoint.read(teacher)
    changed = {"model": {**state["model"], **weights}, "args": None, "cfg": changed_model(state, settings)}
    checkpoint.write({**state, **changed}, tmp_path / "changed.pt")
    with pytest.raises(DistillationError, match=message):
        FairseqEngine(tmp_path / "changed.pt", data)


def changed_model(state: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The settings of a checkpoint with others for its model."""
    settings = checkpoint.plain(state["cfg"])
    model = {**settings["model"], **changes}
    return {**settings, "model": {name: value for name, value in model.items() if value is not ABSENT}}


def test_a_model_that_diverged_is_named_wherever_it_is_loaded(data: Path, teacher: Path, tmp_path: Path) -> None:
    state = checkpoint.read(teacher)
    state["model"]["decoder.layers.0.fc1.bias"][3] = float("nan")
    checkpoint.write(state, tmp_path / "nan.pt")
    message = r"the weights of .*nan\.pt must be finite, but decoder\.layers\.0\.fc1\.bias holds NaN"
    with pytest.raises(DistillationError, match=message):
        teachers.read(str(tmp_path / "nan.pt"))
    with pytest.raises(DistillationError, match=message):
        FairseqEngine(tmp_path / "nan.pt", data)
    warning = f"WARNING: not finite: decoder.layers.0.fc1.bias (1 of {len(state['model'])} weights)"
    assert warning in describe(tmp_path / "nan.pt").splitlines()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("wörd 5\n".encode("latin-1"), r"line 1 is not UTF-8; convert the file first"),
        ("word 5\n".encode("utf-16"), r"line 1 is not UTF-8"),
        ("word 5\n".encode("utf-8-sig"), r"line 1 begins with a byte order mark"),
        (b"word 5\nanother\n", r"line 2 must be a piece and its count, but is 'another'"),
        (b"word 5\nword 4\n", r"line 2 has the piece 'word' of line 1 again"),
        (b"<unk> 5\n", r"is no dictionary of fairseq: Duplicate word found when loading Dictionary: '<unk>'"),
    ],
    ids=["Latin-1", "UTF-16", "mark", "no count", "twice", "special"],
)
def test_a_damaged_dictionary_is_named_wherever_fairseq_reads_it(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "dict.aa.txt").write_bytes(content)
    with pytest.raises(DistillationError, match=rf"dict\.aa\.txt:? {message}"):
        Dictionary.load(str(tmp_path / "dict.aa.txt"))


@pytest.mark.slow
def test_a_cut_data_index_is_refused_by_fairseq_train(data: Path, teacher: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    index = tmp_path / "data" / "train.aa-bb.aa.idx"
    index.write_bytes(index.read_bytes()[:-50])
    log = fork(*phase1(tmp_path / "data", tmp_path / "save", teacher, "--student-preset", "tiny"), fails=True)
    assert log.splitlines()[-1] == f"weightdistill: error: {index} is cut or damaged; binarise the text again"


def test_a_generator_of_another_teacher(data: Path, tiny: Training, teacher: Path, tmp_path: Path) -> None:
    changed = checkpoint.read(teacher)
    changed["model"]["encoder.layers.0.fc1.bias"] += 1
    checkpoint.write(changed, tmp_path / "changed.pt")
    state = checkpoint.read(tiny.last)
    config = {**checkpoint.model_config(state), "teacher_path": str(tmp_path / "changed.pt")}
    given, wanted = files.fingerprint(tmp_path / "changed.pt"), files.fingerprint(teacher)
    with pytest.raises(DistillationError, match=rf"teacher with SHA-256 {wanted}, but .*changed\.pt has {given}; give"):
        load_model(config, state["model"], translation_task(state, data, "tiny"), "tiny")


def test_half_precision_on_a_cpu(teacher: Path) -> None:
    """fairseq ends in "Torch not compiled with CUDA enabled" below 180 lines."""
    for cpu in (True, False):
        with pytest.raises(DistillationError, match=r"^--fp16 needs a GPU, but .* on a CPU; give --cpu instead"):
            student_of(teacher, fp16=True, cpu=cpu)


@pytest.mark.slow
def test_phase_2_of_another_shape_names_both(data: Path, teacher: Path, tiny: Training, tmp_path: Path) -> None:
    export(tiny.last, tmp_path / "student.pt")
    start = ["--student-preset", "small", "--finetune-from-model", tmp_path / "student.pt"]
    last = fork(*student(data, tmp_path / "save", teacher, *start), fails=True).splitlines()[-1]
    assert last == (
        f"weightdistill: error: {tmp_path}/student.pt must hold a student of the shape that is trained, encoder 2 x "
        "16/32 with 2 heads, decoder 2 x 16/32 with 2 heads, but holds one of encoder 2 x 16/32 with 2 heads, decoder "
        "1 x 8/16 with 2 heads; give the --student-preset and shape that it was made with"
    )


def test_phase_2_from_what_phase_1_saved(data: Path, teacher: Path, tiny: Training, tmp_path: Path) -> None:
    task = Built(student(data, tmp_path, teacher)).task
    with pytest.raises(DistillationError, match=r"holds a generator \(phase 1\); export it first \(weightdistill exp"):
        task.before_loading(tiny.last, resumes=False)


@pytest.mark.slow
def test_another_criterion_ends_fairseq_train_in_one_line(data: Path, teacher: Path, tmp_path: Path) -> None:
    command = [
        "cross_entropy" if part == "distillation" and before == "--criterion" else part
        for before, part in itertools.pairwise(["", *student(data, tmp_path, teacher)])
        if part != "--label-smoothing" and before != "--label-smoothing"
    ]
    printed = fork(*command, fails=True)
    assert printed.splitlines()[-1].startswith(
        "weightdistill: error: --task distillation needs --criterion distillation, but is given CrossEntropyCriterion"
    )
    assert "Traceback" not in printed


@pytest.mark.slow
def test_distillation_without_a_teacher_is_refused_by_fairseq_train(data: Path, tmp_path: Path) -> None:
    log = fork(
        *("fairseq-train", data, "--user-dir", PLUGIN, "--save-dir", tmp_path / "save"),
        *("--task", "distillation", "--arch", "transformer", "--criterion", "distillation", *TRAINING, *TEACHER_SHAPE),
        fails=True,
    )
    assert "--distillation-weight is 0.5, but there is no teacher; give --teacher-path" in log
    assert not list(tmp_path.glob("save/*"))


def test_an_output_that_cannot_be_written(tiny: Training, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(DistillationError, match=r"cannot write .*tiny\.pt: .*check that the folder is writable"):
        export(tiny.last, tmp_path / "file" / "tiny.pt")
    printed = fork("weightdistill", "export", tiny.last, "--output", tmp_path / "file" / "tiny.pt", fails=True)
    assert printed.splitlines()[-1].startswith("weightdistill: error: cannot write")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("format_", ["ctranslate2", "safetensors"])
def test_no_format_is_written_when_one_cannot_be(tiny: Training, tmp_path: Path, format_: str) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    outputs: dict[str, Any] = {"ctranslate2": tmp_path / "tiny.ct2", "safetensors": tmp_path / "tiny.safetensors"}
    outputs[format_] = tmp_path / "file" / "tiny"
    with pytest.raises(DistillationError, match=r"cannot write .*/file/tiny: .*check that the folder is writable"):
        export(tiny.last, tmp_path / "tiny.pt", **outputs)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_with_unrelated_files_is_not_replaced(tiny: Training, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis").write_text("all of it", encoding="utf-8")
    with pytest.raises(DistillationError, match=r"--ctranslate2 must name a new folder .*home holds something else"):
        export(tiny.last, tmp_path / "tiny.pt", ctranslate2=tmp_path / "home")
    assert (tmp_path / "home" / "thesis").exists() and not (tmp_path / "tiny.pt").exists()


@pytest.mark.parametrize("limit", [1_000, 20_000])
def test_a_disk_that_fills_while_exporting(tiny: Training, tmp_path: Path, limit: int) -> None:
    outputs: dict[str, Any] = {"ctranslate2": tmp_path / "tiny.ct2", "safetensors": tmp_path / "tiny.safetensors"}
    with full_disk(limit), pytest.raises(DistillationError, match=r"cannot write .*tiny\.pt: .*disk not full"):
        export(tiny.last, tmp_path / "tiny.pt", **outputs)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_disk_that_fills_while_training_leaves_the_last_whole_checkpoint(tiny: Training, tmp_path: Path) -> None:
    shutil.copytree(tiny.folder, tmp_path / "save")
    command = [tmp_path / "save" if part == tiny.folder else part for part in tiny.command]
    command = [*command, "--max-update", PHASE1_UPDATES + 8]
    limit = tiny.last.stat().st_size // 2

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    log = run(*command, fails=True, before=fill)
    assert re.search(
        r"weightdistill: error: cannot write .*\.pt: .*; check that the folder is writable and the disk", log
    )
    for path in (tmp_path / "save").iterdir():
        checkpoint.read(path)
    assert files.fingerprint(tmp_path / "save" / "checkpoint_last.pt") == files.fingerprint(tiny.last)


@pytest.mark.parametrize(
    ("split", "language", "text", "message"),
    [
        ("train", "aa", "", "train.aa: missing or empty; --raw needs train.aa and train.bb"),
        ("valid", "bb", "one\n", "valid: 2 lines of aa but 1 of bb; the sides must align"),
        ("test", "aa", "one\n\n", "test.aa: line 2 is empty; drop that pair from both sides"),
        ("test", "bb", b"one\n\xff\n", "test.bb: line 2 is not UTF-8; convert the file first"),
    ],
)
def test_a_corpus_that_cannot_be_used(
    tmp_path: Path, split: str, language: str, text: str | bytes, message: str
) -> None:
    raw, output = tmp_path / "raw", tmp_path / "prepared"
    raw.mkdir()
    for name in ("train", "valid", "test"):
        for side in ("aa", "bb"):
            (raw / f"{name}.{side}").write_text("one\ntwo\n", encoding="utf-8")
    (raw / f"{split}.{language}").write_bytes(text if isinstance(text, bytes) else text.encode())
    command = ["bash", STAGES / "prepare.sh", "--raw", raw, "--source", "aa", "--target", "bb", "--output", output]
    printed = run("env", f"WEIGHTDISTILL_VENV={BIN.parent}", *command, fails=True)
    assert printed.splitlines()[-1] == f"prepare.sh: {raw}/{message}"
    assert not output.exists()


def test_a_corpus_prepared_with_different_options_is_refused(tmp_path: Path) -> None:
    output = tmp_path / "prepared"
    (output / "data-bin").mkdir(parents=True)
    (output / "data-bin" / "done").touch()
    (output / "options.txt").write_text("--vocab-size 16000\n", encoding="utf-8")
    command = ["bash", STAGES / "prepare.sh", "--raw", tmp_path, "--source", "aa", "--target", "bb", "--output", output]
    printed = run("env", f"WEIGHTDISTILL_VENV={BIN.parent}", *command, fails=True)
    assert "prepared was made with other options (--vocab-size 16000); remove the folder" in printed


def test_a_changed_corpus_is_prepared_again(corpus: Corpus, tmp_path: Path) -> None:
    raw, output = tmp_path / "raw", tmp_path / "prepared"
    shutil.copytree(corpus.pieces, raw)
    command = ["bash", STAGES / "prepare.sh", "--raw", raw, "--source", "aa", "--target", "bb", "--output", output]
    command = [*("env", f"WEIGHTDISTILL_VENV={BIN.parent}"), *command, "--vocab-size"]
    assert "Vocabulary size too high (6000)" in run(*command, 6000, fails=True).splitlines()[-1]
    command.append(40)
    run(*command)
    processing = TextProcessing.read(output)
    pieces = (output / "pieces/test.aa").read_text(encoding="utf-8").splitlines()
    assert [processing.encode(line, "source") for line in corpus.sentences("test")] == pieces
    assert [processing.decode(line) for line in pieces] == corpus.sentences("test")
    (output / "text.json").unlink()  # which earlier versions did not write
    assert run(*command).splitlines()[-1] == f"prepared already: {output}"
    assert TextProcessing.read(output) == processing
    for language in ("aa", "bb"):
        with (raw / f"train.{language}").open("a", encoding="utf-8") as file:
            file.write("w01 w02\n")
    assert "prepared already" not in run(*command)
    assert len((output / "pieces/train.aa").read_text(encoding="utf-8").splitlines()) == 301


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--outptu", "x"], "unknown option --outptu; see --help"),
        (["x"], "unknown option x; see --help"),
        (["--raw"], "--raw needs a value; see --help"),
        (["--raw", "x", "--source", "aa"], "--target is required; see prepare.sh --help"),
        (["--", "--lr", "1"], "unknown option --; see --help"),
    ],
)
def test_wrong_options_of_a_stage(arguments: list[str], message: str) -> None:
    command = ["bash", STAGES / "prepare.sh", *arguments]
    printed = run("env", f"WEIGHTDISTILL_VENV={BIN.parent}", *command, fails=True)
    assert printed.splitlines()[-1] == f"prepare.sh: {message}"


def test_a_finished_training_with_different_options_is_refused(data: Path, teacher: Path, tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text("{}", encoding="utf-8")
    (tmp_path / "options.txt").write_text("--lr 1\n", encoding="utf-8")
    command = ["bash", STAGES / "train_student.sh", "--data", data, "--teacher", teacher, "--output", tmp_path]
    printed = run("env", f"WEIGHTDISTILL_VENV={BIN.parent}", *command, "--", "--lr", 2, fails=True)
    assert f"{tmp_path} holds a training with other options or inputs" in printed


def test_activation_checkpointing_is_refused_while_weights_are_generated(
    data: Path, teacher: Path, tmp_path: Path
) -> None:
    printed = fork(*phase1(data, tmp_path, teacher, "--student-preset", "tiny", "--checkpoint-activations"), fails=True)
    assert "--checkpoint-activations does not work while weights are generated" in printed
    assert not list(tmp_path.glob("*.pt"))

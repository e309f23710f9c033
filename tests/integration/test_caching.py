"""Students that learn from a cache of the teacher's predictions."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from building import Built, student
from commands import Corpus, MakeOnce, Training, fork, phase1, run

from fairseq_plugins import students
from fairseq_plugins.caching import cache_teacher
from weightdistill import checkpoint, files
from weightdistill.distillation.teacher_cache import TeacherCache
from weightdistill.errors import DistillationError


@pytest.fixture(scope="session")
def cache(data: Path, teacher: Path, make_once: MakeOnce) -> Path:
    """The 8 likeliest words at temperature 2, in shards of 100 sentences."""

    def fill(folder: Path) -> None:
        command = ["weightdistill", "cache-teacher", teacher, "--output", folder, "--top-k", 8, "--temperature", 2]
        printed = run(*command, "--shard-sentences", 100)
        assert "300 sentences" in printed and "24 sentences" in printed

    return make_once("cache", fill)


def from_cache(data: Path, save: Path, cache: Path, teacher: Path, *more: object) -> list[object]:
    return student(data, save, teacher, "--teacher-cache", cache, "--temperature", 2, *more)


def test_a_batch_from_the_cache_gives_the_loss_and_gradients_of_the_teacher_itself(
    data: Path, teacher: Path, cache: Path, tmp_path: Path
) -> None:
    cached = Built(from_cache(data, tmp_path, cache, teacher, "--dropout", 0))
    online = Built(
        student(data, tmp_path, teacher, "--dropout", 0, "--temperature", 2, "--soft-top-k", 8, "--soft-rest", "spread")
    )
    online.model.load_state_dict(cached.model.state_dict())
    assert not list(cached.task.teacher_logits(cached.sample, cached.model))
    losses = [built.criterion(built.model, cached.sample)[0] for built in (cached, online)]
    # the online criterion would take the labels in the sample, too
    del cached.sample["soft_labels"]
    losses[1] = online.criterion(online.model, cached.sample)[0]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-4)
    gradients = [
        torch.autograd.grad(loss, list(built.model.parameters()))
        for loss, built in zip(losses, (cached, online), strict=True)
    ]
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-2, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["student", "generated_transformer"])
def test_training_from_a_cache_with_worker_processes(
    data: Path, teacher: Path, cache: Path, tmp_path: Path, arch: str
) -> None:
    command = phase1(data, tmp_path, teacher, "--student-preset", "tiny", "--teacher-cache", cache, "--temperature", 2)
    command = [arch if part == "generated_transformer" else part for part in command]
    log = fork(*command, "--max-update", 6, "--num-workers", 1)
    assert "valid on 'valid' subset" in log and " | distillation_loss " in log
    state = checkpoint.read(tmp_path / "checkpoint_last.pt")
    assert [entry["sha256"] for entry in state["task_state"]["teachers"]] == [files.fingerprint(teacher)]


def test_the_teacher_that_a_student_starts_from_is_recorded_beside_that_of_the_cache(
    data: Path, teacher: Path, second_teacher: Path, cache: Path, tmp_path: Path
) -> None:
    for start, starting_teachers in (("random", []), ("last", [second_teacher])):
        built = Built(from_cache(data, tmp_path, cache, second_teacher, "--student-init", start))
        recorded = [entry["sha256"] for entry in built.task.state_dict()["teachers"]]
        assert recorded == [files.fingerprint(path) for path in (teacher, *starting_teachers)]


@pytest.fixture
def without_teacher(data: Path, teacher: Path, cache: Path, tmp_path: Path) -> list[object]:
    """The command of a student's training from a cache alone."""
    command = from_cache(data, tmp_path / "save", cache, teacher)
    place = command.index("--teacher-path")
    return [*command[:place], *command[place + 2 :]]


def test_a_student_without_its_teachers_file_has_the_settings_that_the_teacher_would_give(
    data: Path, teacher: Path, cache: Path, tmp_path: Path, without_teacher: list[object]
) -> None:
    alone, beside = (Built(command) for command in (without_teacher, from_cache(data, tmp_path, cache, teacher)))
    names = students.transformer_options()
    settings = [{name: getattr(built.config.model, name, None) for name in names} for built in (alone, beside)]
    assert settings[0] == settings[1]
    assert settings[0]["decoder_layers"] == 1 and settings[0]["decoder_embed_dim"] == 8
    assert alone.task.state_dict() == beside.task.state_dict()
    for built in (alone, beside):
        built.model.load_state_dict(beside.model.state_dict())
        built.model.eval()
    losses = [built.criterion(built.model, built.sample)[0] for built in (alone, beside)]
    assert torch.equal(*losses)


@pytest.mark.slow
def test_a_student_is_trained_and_fine_tuned_after_its_teachers_file_is_gone(
    tiny: Training, tmp_path: Path, without_teacher: list[object]
) -> None:
    fork(*without_teacher, "--max-update", 2, "--no-epoch-checkpoints")
    fork("weightdistill", "export", tiny.last, "--output", tmp_path / "phase1.pt")
    starts = [tmp_path / "save" / "checkpoint_last.pt", tmp_path / "phase1.pt"]
    for number, start in enumerate(starts):
        save = tmp_path / f"save{number}"
        command = [save if part == tmp_path / "save" else part for part in without_teacher]
        log = fork(*command, "--max-update", 2, "--no-epoch-checkpoints", "--finetune-from-model", start)
        assert f"loading pretrained model from {start}" in log and (save / "checkpoint_last.pt").is_file()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--arch", "generated_transformer"], "makes the student's weights from its teacher's; give --teacher-path"),
        (["--student-init", "last"], "--student-init last takes weights from a teacher; give --teacher-path"),
        (["--matches", "distilbert"], "--matches needs the teacher itself, but there is a cache"),
    ],
    ids=str,
)
def test_what_needs_the_teachers_weights_asks_for_its_file(
    without_teacher: list[object], more: list[object], message: str
) -> None:
    with pytest.raises(DistillationError, match=message):
        Built([*without_teacher, *more])


def test_a_cache_of_an_older_version_lacks_the_teachers_settings_until_it_is_made_again(
    teacher: Path, cache: Path, tmp_path: Path, without_teacher: list[object]
) -> None:
    older = tmp_path / "cache"
    shutil.copytree(cache, older)
    path = older / "train" / "cache.json"
    written = path.read_bytes()
    settings = json.loads(written)
    del settings["teacher_settings"]
    path.write_text(json.dumps(settings), encoding="utf-8")
    command = [older if part == cache else part for part in without_teacher]
    with pytest.raises(DistillationError, match=r"of an older version, without .*; give --teacher-path, or run"):
        Built(command)
    cache_teacher(str(teacher), older / "train", top_k=8, temperature=2.0, shard_sentences=100)
    assert path.read_bytes() == written
    Built(command)


@pytest.mark.slow
def test_a_plain_transformer_learns_from_a_cache_without_any_teacher(data: Path, cache: Path, tmp_path: Path) -> None:
    shape = ["--encoder-layers", 1, "--decoder-layers", 1, "--encoder-embed-dim", 16, "--decoder-embed-dim", 16]
    command = phase1(data, tmp_path, "none", "--teacher-cache", cache, "--temperature", 2, *shape)
    place = command.index("--teacher-path")
    command = ["transformer" if part == "generated_transformer" else part for part in command]
    fork(*command[:place], *command[place + 2 :], "--max-update", 2)


@pytest.mark.slow
def test_an_unfinished_cache_is_completed_and_a_complete_one_is_kept(
    data: Path, teacher: Path, cache: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "cache"
    shutil.copytree(cache, copy)
    settings = (copy / "train" / "cache.json").read_text(encoding="utf-8")
    cut = settings[: settings.index('"name": "00001"')].rstrip().removesuffix("{").rstrip().removesuffix(",")
    (copy / "train" / "cache.json").write_text(cut + "\n]}", encoding="utf-8")
    (copy / "train" / "00002.values.npy").unlink()
    with pytest.raises(DistillationError, match="must hold 300 sentences, but holds 100"):
        TeacherCache(copy / "train")
    command = ["weightdistill", "cache-teacher", teacher, "--output", copy, "--top-k", 8, "--temperature", 2]
    fork(*command, "--shard-sentences", 100)
    for name in ("00001.indices.npy", "00002.values.npy", "cache.json"):
        assert (copy / "train" / name).read_bytes() == (cache / "train" / name).read_bytes()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--temperature", 1], r"temperature must be that of the teacher cache \(2.0\), but is 1.0"),
        (["--matches", "distilbert"], "--matches needs the teacher itself, but there is a cache"),
        (["--soft-loss", "mse"], "--soft-loss needs the teacher itself"),
        (["--probability-shift"], "--probability-shift needs the teacher itself"),
    ],
    ids=str,
)
def test_options_that_need_the_teacher_itself_are_refused(
    data: Path, teacher: Path, cache: Path, tmp_path: Path, more: list[object], message: str
) -> None:
    with pytest.raises(DistillationError, match=message):
        Built(from_cache(data, tmp_path, cache, teacher, *more))


def test_a_cache_of_other_sources_is_not_resumed(corpus: Corpus, teacher: Path, cache: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus.data, tmp_path / "data")
    shutil.copytree(cache, tmp_path / "cache")
    for part in ("bin", "idx"):
        sources = tmp_path / "data" / f"valid.aa-bb.bb.{part}"
        shutil.copy(sources, tmp_path / "data" / f"valid.aa-bb.aa.{part}")
    command = ["weightdistill", "cache-teacher", teacher, "--data", tmp_path / "data", "--output", tmp_path / "cache"]
    printed = fork(
        *command, "--subset", "valid", "--top-k", 8, "--temperature", 2, "--shard-sentences", 100, fails=True
    )
    assert "holds a teacher cache with a different sources_sha256" in printed


def test_a_cache_of_other_data_is_refused(corpus: Corpus, teacher: Path, cache: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus.data, tmp_path / "data")
    for part in ("bin", "idx"):
        for language in ("aa", "bb"):
            name = f"aa-bb.{language}.{part}"
            shutil.copy(tmp_path / "data" / f"valid.{name}", tmp_path / "data" / f"train.{name}")
    with pytest.raises(DistillationError, match=r"was not made of the targets of train in .*; make it again"):
        Built(from_cache(tmp_path / "data", tmp_path, cache, teacher))


def test_data_binarised_for_the_opposite_direction_have_the_same_cache(
    corpus: Corpus, teacher: Path, cache: Path, tmp_path: Path
) -> None:
    shutil.copytree(corpus.data, tmp_path / "data")
    for file in (tmp_path / "data").glob("*.aa-bb.*"):
        file.rename(file.with_name(file.name.replace(".aa-bb.", ".bb-aa.")))
    command = from_cache(tmp_path / "data", tmp_path, cache, teacher)
    built = Built([*command, "--source-lang", "aa", "--target-lang", "bb"])
    assert "soft_labels" in built.sample


def test_a_cache_that_does_not_fit_the_training_is_refused(
    data: Path, teacher: Path, cache: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "cache"
    shutil.copytree(cache, copy)
    built = Built(from_cache(data, tmp_path, copy, teacher))
    settings = (copy / "valid" / "cache.json").read_text(encoding="utf-8")
    (copy / "valid" / "cache.json").write_text(settings.replace('"temperature": 2.0', '"temperature": 1.0'))
    with pytest.raises(DistillationError, match=r"has another temperature for valid \(1.0\) than for train \(2.0\)"):
        built.task.load_dataset("valid")
    values = copy / "train" / "00000.values.npy"
    values.write_bytes(values.read_bytes()[:-1] + b"x")
    with pytest.raises(DistillationError, match=r"00000\.values\.npy has changed since it was written"):
        built.task.load_dataset("train")
    with pytest.raises(DistillationError, match="--teacher-cache needs targets that are padded on the right"):
        Built(from_cache(data, tmp_path, cache, teacher, "--left-pad-target"))


@pytest.mark.slow
def test_a_multilingual_student_learns_from_one_teacher_per_pair_whose_sources_lack_its_tags(
    corpus: Corpus, teacher: Path, second_teacher: Path, tmp_path: Path
) -> None:
    """Two language pairs. The student's sources begin with a tag of the pair; neither teacher knows the tags."""
    teachers = {"": teacher, "1": second_teacher}
    both = tmp_path / "both"
    words = (corpus.data / "dict.aa.txt").read_text(encoding="utf-8")
    (tmp_path / "dict.aa.txt").write_text(f"{words}<pair> 1\n<pair1> 1\n", encoding="utf-8")
    (tmp_path / "caches").mkdir()
    both.mkdir()
    for suffix, teacher_of_pair in teachers.items():
        command = ["weightdistill", "cache-teacher", teacher_of_pair, "--data", corpus.data, "--top-k", 8]
        fork(*command, "--output", tmp_path / f"cache{suffix}")
        for split in ("train", "valid"):
            (tmp_path / f"cache{suffix}" / split).rename(tmp_path / "caches" / f"{split}{suffix}")
        tagged = tmp_path / f"tagged{suffix}"
        tagged.mkdir()
        for split in ("train", "valid"):
            tag = f"<pair{suffix}> "  # a word that the teachers do not know
            lines = (corpus.pieces / f"{split}.aa").read_text(encoding="utf-8").splitlines()
            (tagged / f"{split}.aa").write_text("".join(f"{tag}{line}\n" for line in lines), encoding="utf-8")
            shutil.copy(corpus.pieces / f"{split}.bb", tagged)
        fork(
            *("fairseq-preprocess", "--source-lang", "aa", "--target-lang", "bb", "--trainpref", tagged / "train"),
            *("--validpref", tagged / "valid", "--destdir", tagged / "data"),
            *("--srcdict", tmp_path / "dict.aa.txt", "--tgtdict", corpus.data / "dict.bb.txt"),
        )
        for file in (tagged / "data").iterdir():
            split, dot, rest = file.name.partition(".")
            shutil.copy(file, both / (f"{split}{suffix}{dot}{rest}" if split in ("train", "valid") else file.name))
    command = student(both, tmp_path / "save", teacher, "--teacher-cache", tmp_path / "caches", "--max-update", 3)
    log = fork(*(part for part in command if part != "--disable-validation"), "--combine-val")
    assert "valid on 'valid' subset" in log
    recorded = checkpoint.read(tmp_path / "save" / "checkpoint_last.pt")["task_state"]["teachers"]
    assert [entry["sha256"] for entry in recorded] == [files.fingerprint(path) for path in teachers.values()]
    # rows of the teacher's embedding would be other words for the student
    with pytest.raises(DistillationError, match="source dictionary of teacher"):
        Built([*command, "--student-init", "middle"])
    built = Built(command)
    built.task.load_dataset("train", combine=True)
    dataset = built.task.dataset("train")
    assert len(dataset) == 600
    batch = dataset.collater([dataset[0], dataset[300]])
    assert torch.equal(batch["target"][0], batch["target"][1])
    assert not torch.equal(batch["soft_labels"]["values"][0], batch["soft_labels"]["values"][1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--top-k", 1000], "top k must be at most the vocabulary's size .*, but is 1000"),
        (["--temperature", 0], "temperature must be positive and finite, but is 0.0"),
        (["--top-k", 8, "--subset", "training"], "has no subset 'training'"),
    ],
    ids=str,
)
def test_an_impossible_cache_is_refused(teacher: Path, tmp_path: Path, options: list[object], message: str) -> None:
    printed = fork("weightdistill", "cache-teacher", teacher, "--output", tmp_path / "cache", *options, fails=True)
    assert "weightdistill: error: " in printed and not list(tmp_path.rglob("*.npy"))
    assert message.partition(" .*")[0] in printed

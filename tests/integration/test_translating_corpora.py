"""Corpora of the teacher's translations: of further sources, by sampling, interrupted, and made into data folders."""

import json
import math
import shutil
import time
from pathlib import Path

import pytest
from commands import BIN, ROOT, Corpus, MakeOnce, fork, phase1, run, start

from fairseq_plugins.engine import open_engine
from fairseq_plugins.export import export
from weightdistill.decoding.engines import Sampling, Search

FURTHER = ["w01 w02 w03", "", "w04 w06 w07 w08", "w01 w02 w03", " ".join(["w05"] * 1024)]


@pytest.fixture(scope="session")
def engines(teacher: Path, make_once: MakeOnce) -> Path:
    """The teacher in both formats: model.pt and ctranslate2/."""
    return make_once("engines", lambda folder: export(teacher, folder / "model.pt", ctranslate2=folder / "ctranslate2"))


@pytest.fixture
def prepared(corpus: Corpus, tmp_path: Path) -> Path:
    """What prepare.sh writes of the corpus, as far as translate.sh reads it."""
    folder = tmp_path / "prepared"
    folder.mkdir()
    (folder / "pieces").symlink_to(corpus.pieces)
    (folder / "data-bin").symlink_to(corpus.data)
    return folder


def both_sides(folder: Path) -> list[tuple[str, str]]:
    sides = [(folder / side).read_text(encoding="utf-8").splitlines() for side in ("source", "target")]
    return list(zip(*sides, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ctranslate2", "model.pt"])
def test_samples_are_the_same_after_a_kill(corpus: Corpus, engines: Path, tmp_path: Path, engine: str) -> None:
    command = [
        *(
            "weightdistill",
            "translate-corpus",
            engines / engine,
            "--data",
            corpus.data,
            "--source",
            corpus.pieces / "train.aa",
        ),
        *("--shards", 12, "--threads", 1, "--samples", 2, "--sampling-top-k", 3, "--sampling-temperature", 2),
    ]
    shards = tmp_path / "out" / "shards"
    process = start(*command, "--output", tmp_path / "out")
    while not (shards / "0-of-12.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not (tmp_path / "out" / "distilled.json").exists()
    fork(*command, "--output", tmp_path / "out")
    printed = fork(*command, "--output", tmp_path / "whole")
    pairs = both_sides(tmp_path / "out")
    assert pairs == both_sides(tmp_path / "whole")
    report = json.loads((tmp_path / "out" / "distilled.json").read_text(encoding="utf-8"))
    assert report["pairs"] == len(pairs) > report["kept"] and report["samples"] == 2
    assert f"{report['kept']} of 300 sentences translated in {len(pairs)} ways" in printed
    fork(*command, "--output", tmp_path / "reseeded", "--seed", 2)
    assert both_sides(tmp_path / "reseeded") != pairs


@pytest.mark.parametrize("engine", ["ctranslate2", "model.pt"])
def test_samples_are_as_frequent_as_the_model_says(corpus: Corpus, engines: Path, engine: str) -> None:
    opened = open_engine(engines / engine, corpus.data, 1)
    sentences = [sentence.split() for sentence in corpus.sentences("test")]
    greedy = opened.search(sentences, Search(beam=1))
    for only_the_likeliest in (Sampling(2, top_k=2, temperature=1e-5), Sampling(2, top_k=0, temperature=1e-5)):
        sampled = opened.search(sentences, Search(sampling=only_the_likeliest))
        assert [[sample.pieces for sample in samples] for samples in sampled] == [
            [best.pieces] * 2 for (best,) in greedy
        ]
    shortest = min(sentences, key=len)
    ((best, *_),) = opened.search([shortest], Search(beam=5, length_penalty=0))  # its score is its log-probability
    samples = opened.search([shortest] * 100, Search(sampling=Sampling(20, top_k=0)))
    drawn, count = sum(sample.pieces == best.pieces for each in samples for sample in each), 2000
    probability = math.exp(best.score)
    assert 0.001 < probability < 0.999
    assert abs(drawn - count * probability) < 5 * math.sqrt(count * probability * (1 - probability))


def test_settings_of_sampling_are_refused_without_it(corpus: Corpus, engines: Path, tmp_path: Path) -> None:
    command = ["weightdistill", "translate-corpus", engines / "model.pt", "--source", corpus.pieces / "train.aa"]
    printed = fork(*command, "--output", tmp_path / "out", "--sampling-temperature", 2, fails=True)
    assert "--sampling-top-k, --sampling-temperature and --seed need sampling; give --samples" in printed
    printed = fork(*command, "--output", tmp_path / "out", "--samples", 2, "--sampling-top-k", 999, fails=True)
    assert "top k must be at most 40 with a vocabulary of 40, but is 999" in printed
    assert not list(tmp_path.glob("out/shards/*"))


@pytest.mark.slow
def test_further_sources_become_part_of_the_data_folder(
    corpus: Corpus, engines: Path, teacher: Path, prepared: Path, tmp_path: Path
) -> None:
    (tmp_path / "sources").write_text("\n".join(FURTHER) + "\n", encoding="utf-8")
    output = tmp_path / "translated"
    command = [
        *("env", f"WEIGHTDISTILL_VENV={BIN.parent}", ROOT / "scripts/translate.sh", "--prepared", prepared),
        *("--source", "aa", "--target", "bb", "--model", engines / "ctranslate2", "--output", output),
        *("--sources", tmp_path / "sources", "--samples", 2, "--seed", 3, "--shards", 2),
    ]
    printed = run(*command)
    report = json.loads((output / "distilled.json").read_text(encoding="utf-8"))
    assert report["sentences"] == 305 and report["pairs"] == 300 + report["translations"]
    assert {reason: report["left_out_lines"][reason] for reason in ("empty", "repeated", "too long")} == {
        "empty": [302],
        "repeated": [304],
        "too long": [305],
    }
    assert "1 empty, 1 repeated, 1 too long" in printed and "next: " not in printed
    sources = (output / "pieces/train.aa").read_text(encoding="utf-8").splitlines()
    assert sources[:300] == corpus.sentences("train") and sources[-2:] == [FURTHER[2]] * 2
    assert f"{report['pairs']} sents" in printed.replace(",", "")  # fairseq-preprocess counts what it binarises
    assert "translated already" in run(*command)
    # what the teacher predicts over that corpus, which a student can learn from
    cached = fork(
        "weightdistill",
        "cache-teacher",
        teacher,
        "--data",
        output / "data-bin",
        "--output",
        tmp_path / "c",
        "--top-k",
        8,
    )
    assert f"{report['pairs']} sentences" in cached.replace(",", "")
    options = ("--student-preset", "tiny", "--teacher-cache", tmp_path / "c", "--max-update", 1, "--disable-validation")
    fork(*phase1(output / "data-bin", tmp_path / "save", teacher, *options))
    # the folder above is text
    message = (
        f"{output} must hold binarised data, but holds text of weightdistill translate-corpus; give {output}/data-bin"
    )
    assert message in fork(*phase1(output, tmp_path / "text", teacher, *options), fails=True)
    assert message in fork("weightdistill", "cache-teacher", teacher, "--data", output, "--output", "c", fails=True)


def test_distill_says_how_its_text_becomes_a_data_folder(corpus: Corpus, engines: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    command = ["weightdistill", "translate-corpus", engines / "ctranslate2", "--source", corpus.pieces / "valid.aa"]
    command += ["--data", corpus.data, "--output", output, "--shards", 1]
    last = fork(*command).splitlines()[-1]
    assert last.startswith("next: ") and last.endswith(" (scripts/translate.sh does all this)")
    steps = [step.split() for step in last.removeprefix("next: ").rpartition(" (")[0].split("; ")]
    assert [step[0] for step in steps] == ["mv", "mv", "fairseq-preprocess", "cp"]
    for _, made, wanted in steps[:2]:
        shutil.move(made, wanted)
    fork(*steps[2])
    for file in corpus.data.glob("valid.*"):
        shutil.copy(file, steps[3][-1])
    assert {path.name for path in (output / "data-bin").glob("*.aa-bb.aa.bin")} == {
        "train.aa-bb.aa.bin",
        "valid.aa-bb.aa.bin",
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--prepared": "absent"}, "absent/pieces/train.aa: no such file; --prepared needs the output of prepare.sh"),
        ({"--model": "absent.pt"}, "absent.pt: no such file; --model needs a CTranslate2 folder or a fairseq checkp"),
        ({"--target": "cc"}, "pieces/train.cc: no such file; --prepared needs the output of prepare.sh for --source"),
        ({"--sources": "absent.en"}, "absent.en: no such file; --sources needs a text file of pieces"),
    ],
    ids=str,
)
def test_a_missing_input_is_one_line(
    engines: Path, prepared: Path, tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    options = {"--prepared": prepared, "--source": "aa", "--target": "bb", "--model": engines / "model.pt"}
    given = {**options, "--output": tmp_path / "out", **changes}
    words = [word for option in given.items() for word in option]
    printed = run("env", f"WEIGHTDISTILL_VENV={BIN.parent}", ROOT / "scripts/translate.sh", *words, fails=True)
    assert printed.startswith("translate.sh: ") and message in printed and printed.count("\n") == 1
    assert not (tmp_path / "out").exists()

"""The recipes' data, from what is published to what is trained on, and every command of each recipe."""

import re
from pathlib import Path

import pytest
from commands import BIN, ROOT, run

EXPERIMENTS = ROOT / "experiments"
RECIPES = ["wmt16-en-ro", "nist12-zh-en", "wmt14-en-de-base", "wmt14-en-de-big", "wmt14-en-de-deep"]
HERE = ("env", f"WEIGHTDISTILL_VENV={BIN.parent}")


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_dry_run_prints_every_command_and_runs_none(recipe: str, tmp_path: Path) -> None:
    options = ("--dry-run", "--output", tmp_path)
    printed = run(*HERE, ROOT / "scripts/reproduce.sh", recipe, *options)
    for stage in ("prepare", "train_teacher", "translate", "train_student", "phase1", "export", "phase2", "tune"):
        assert f"scripts/{stage}.sh " in printed
    assert "--max-update 30000" in printed and "--batch-tokens 32768" in printed
    assert ("--arch teacher_" + {"big": "big", "deep": "deep"}.get(recipe.split("-")[-1], "base")) in printed
    assert not list(tmp_path.glob("*.pt")) and not (tmp_path / "raw").exists()


def test_an_experiment_is_commands_of_all_its_methods(tmp_path: Path) -> None:
    workflow = ("snakemake", "--snakefile", EXPERIMENTS / "Snakefile", "--directory", tmp_path, "--cores", 1)
    folder = EXPERIMENTS / "multi30k-en-de"
    printed = run(*HERE, *workflow, "--configfile", folder / "config.yaml", "--dry-run", "--printshellcmds")
    commands = {
        match[2]: match[1]
        for match in re.finditer(r"(scripts/\S+.*--output \$\(dirname (\S+?)/training.json.*)", printed)
    }
    for name, start in (
        ("students/kd-tiny-1", "scripts/train_student.sh "),
        ("phase1/wd-tuned-small-1", "scripts/phase1.sh --generator default "),
        ("phase2/wd-tuned-small-1", "scripts/phase2.sh "),
        ("phase1/copied-restart-tiny-1", "scripts/train_student.sh "),
    ):
        assert commands[name].startswith(start)
    assert "--no-generator-gate --teacher-cache caches/64" in commands["phase1/wd-no-gate-tiny-1"]


def test_nist_sets_and_corpora_become_aligned_text(tmp_path: Path) -> None:
    folder, raw = tmp_path / "ldc", tmp_path / "raw"
    run(*HERE, EXPERIMENTS / "smoke_data.sh", "--recipe", "nist12-zh-en", "--output", folder)
    collect = (EXPERIMENTS / "nist12-zh-en/collect.sh", "--output", raw, "--ldc", folder, "--tables", folder)
    printed = run(*HERE, *collect)
    assert "MT08: 100 sentences, 4 translations of each" in printed
    for name in ("valid", "MT02", "MT08"):
        assert len(lines(raw / f"{name}.zh")) == 100
        assert [lines(raw / f"{name}.en.{number}") for number in range(4)] == [lines(raw / f"{name}.en.0")] * 4
    pairs = list(zip(lines(raw / "train.zh"), lines(raw / "train.en"), strict=True))
    assert len(pairs) > 3000

    # of several files each is aligned with its own, whatever order the folder lists them in; and the LDC's own form:
    # traditional characters, segments that alignments join
    (folder / "corpora.tsv").write_text(
        "train\tpart*.zh\tpart*.en\tUTF-8\nmagazine\tzh.sgm\ten.sgm\tCP950\tlinks.sgm\n", encoding="utf-8"
    )
    for name, document in {
        "zh.sgm": "<DOC docid=M>\n<seg id=1> 我們說 </seg>\n<seg id=2> 漢語。 </seg>\n</DOC>\n",
        "en.sgm": "<DOC docid=M>\n<seg id=1> We speak Chinese . </seg>\n</DOC>\n",
        "links.sgm": '<ALIGNMENT docid=M>\n<SentPair EnglishSegId= "1" ChineseSegId= "1,2" >\n</ALIGNMENT>\n',
    }.items():
        (folder / name).write_bytes(document.encode("big5"))
    for number, letter in enumerate("qzbxka"):
        for side, language in enumerate(("zh", "en")):
            part = pairs[number * 500 : (number + 1) * 500]
            (folder / f"part{letter}.{language}").write_text(
                "".join(f"{pair[side]}\n" for pair in part), encoding="utf-8"
            )
    run(*HERE, *collect)
    found = set(zip(lines(raw / "train.zh"), lines(raw / "train.en"), strict=True))
    assert found == {*pairs[:3000], ("我们 说 汉语 。", "We speak Chinese .")}
    text = (folder / "partx.en").read_text(encoding="utf-8")
    (folder / "partx.en").write_text(text + "one more\n", encoding="utf-8")
    assert re.search(r"train\.5\.raw\.zh ends after 500", run(*HERE, *collect, fails=True))
    (folder / "partx.en").unlink()
    assert "train: 6 Chinese files but 5 English ones; mend" in run(*HERE, *collect, fails=True)
    (folder / "corpora.tsv").write_text("train\ttrain.zh\ttrain.en\tUTF-8\n", encoding="utf-8")

    (folder / "MT03-ref.2.sgm").write_text(
        (folder / "MT03-ref.2.sgm").read_text().replace("<seg id=7>", "<seg id=700>")
    )
    assert "segment '7' is in the source, but not in the reference '2'" in run(*HERE, *collect, fails=True)
    (folder / "corpora.tsv").write_text("train\ttrain.zh\tlost*.en\tUTF-8\n")
    assert re.search(r"lost\*\.en: no such file; adapt the tables in .*ldc to", run(*HERE, *collect, fails=True))


def test_romanian_letters_have_one_form_and_test_sets_lose_nothing(tmp_path: Path) -> None:
    local, raw = tmp_path / "local", tmp_path / "raw"
    local.mkdir()
    pairs = [("One » two", "Ştiinţa și"), ("One » two", "Ştiinţa și"), ("", "gol"), ("a b c d e f", "scurt")]
    for side, language in enumerate(("en", "ro")):
        for name in ("train", "valid", "newstest2016"):
            kept = pairs if name == "train" else [*pairs[:2], pairs[3]]
            (local / f"{name}.{language}").write_text("".join(f"{pair[side]}\n" for pair in kept), encoding="utf-8")
    download = (EXPERIMENTS / "wmt16-en-ro/download.sh", "--output", raw)
    printed = run(*HERE, *download, "--local", local)
    assert "1 empty" in printed and "1 ratio, 1 duplicate, 1 kept" in printed
    assert lines(raw / "train.ro") == ["Știința și"] and lines(raw / "train.en") == ['One " two']
    assert lines(raw / "newstest2016.ro") == ["Știința și", "Știința și", "scurt"]

    # carriage returns are no ends of lines, and what is no text is named by its line
    (local / "valid.en").write_bytes(b"One\rtwo\r\nthree\nfour\n")
    run(*HERE, *download, "--local", local)
    assert [line.split() for line in lines(raw / "valid.en")] == [["One", "two"], ["three"], ["four"]]
    (local / "valid.ro").write_bytes(b"one\n\xff\nthree\n")
    assert "valid.ro: line 2 is not UTF-8; convert" in run(*HERE, *download, "--local", local, fails=True)

    (tmp_path / "archives").mkdir()
    (tmp_path / "archives/training-parallel-ep-v8.tgz").write_text("not the archive")
    printed = run(*HERE, *download, "--archives", tmp_path / "archives", fails=True)
    assert "training-parallel-ep-v8.tgz: its SHA-256 is not 8917bd3b" in printed


def test_a_recipe_that_there_is_not(tmp_path: Path) -> None:
    printed = run(*HERE, ROOT / "scripts/reproduce.sh", "wmt99", "--output", tmp_path, fails=True)
    assert "experiments/wmt99/config.yaml; see --help for the recipes" in printed

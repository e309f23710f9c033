"""The recipes: their data, from the published archives to the training text, and every command of each."""

import gzip
import io
import re
import tarfile
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest
from commands import BIN, ROOT, TEACHER_SHAPE, TRAINING, run

from weightdistill import files

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
    configs = (folder / "config.yaml", EXPERIMENTS / "own-teacher/sources.yaml")
    (tmp_path / "more.en").touch()
    printed = run(*HERE, *workflow, "--configfile", *configs, "--dry-run", "--printshellcmds")
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
    # a corpus with further sources: their pieces, the translations, and a cache of all of it
    assert re.search(r"gzip .* more[.]en .*> corpora/more/sources", printed)
    for shard in (0, 1):
        assert re.search(rf"--output corpora/more .*--sources corpora/more/sources --shards 2 --only {shard} ", printed)
    assert re.search(r"cache-teacher .*corpora/more/data-bin/done.*--subset train .*caches/more-64/train.done", printed)
    assert "$(dirname corpora/more/data-bin/done)" in commands["phase1/wd-more-tiny-1"]
    assert "--teacher-cache caches/more-64" in commands["phase1/wd-more-tiny-1"]


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

    # fewer test sets from here on: each starts the word segmenter anew
    sets = [line for line in lines(folder / "sets.tsv") if line.startswith(("valid", "MT03", "MT08"))]
    (folder / "sets.tsv").write_text("".join(f"{line}\n" for line in sets), encoding="utf-8")

    # Several files are paired by name, in whatever order the folder lists them. The LDC's format has traditional
    # characters, and segments that alignments join.
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
    collected = set(zip(lines(raw / "train.zh"), lines(raw / "train.en"), strict=True))
    assert collected == {*pairs[:3000], ("我们 说 汉语 。", "We speak Chinese .")}
    text = (folder / "partx.en").read_text(encoding="utf-8")
    (folder / "partx.en").write_text(text + "one more\n", encoding="utf-8")
    assert re.search(r"partx\.zh ends after 500 and .*partx\.en does not", run(*HERE, *collect, fails=True))
    (folder / "partx.en").write_bytes(text.encode().replace(b"\n", b"\xff\n", 2))
    assert re.search(r"partx\.en: line 1 is not UTF-8; name its encoding", run(*HERE, *collect, fails=True))
    (folder / "partx.en").unlink()
    assert "train: 6 Chinese files but 5 English ones; fix" in run(*HERE, *collect, fails=True)
    (folder / "corpora.tsv").write_text("train\ttrain.zh\ttrain.en\tUTF-8\n", encoding="utf-8")

    # source and references have different encodings
    (folder / "sets.tsv").write_text("".join(f"{line}\tGB18030,latin-1\n" for line in sets), encoding="utf-8")
    last = folder / "MT08-ref.4.sgm"
    last.write_bytes(last.read_bytes().replace(b"</seg>", b" Jos\xe9</seg>", 1))
    run(*HERE, *collect)
    assert lines(raw / "MT08.en.3")[0] == lines(raw / "MT08.en.0")[0] + " José"

    (folder / "MT03-ref.2.sgm").write_text(
        (folder / "MT03-ref.2.sgm").read_text().replace("<seg id=7>", "<seg id=700>")
    )
    assert "segment '7' is in the source, but not in the reference '2'" in run(*HERE, *collect, fails=True)
    # what was gathered before the failure is kept, unless one of its files has changed
    gathered = "collected/train.zh and "
    assert gathered not in run(*HERE, *collect, fails=True)
    for language in ("zh", "en"):
        with (folder / f"train.{language}").open("a", encoding="utf-8") as file:
            file.write("more\n")
    assert gathered in run(*HERE, *collect, fails=True)
    (folder / "corpora.tsv").write_text("train\ttrain.zh\tlost*.en\tUTF-8\n")
    assert re.search(r"lost\*\.en: no such file; adapt the tables in .*ldc to", run(*HERE, *collect, fails=True))


def test_romanian_letters_have_one_form_and_test_sets_lose_nothing(tmp_path: Path) -> None:
    local, raw = tmp_path / "local", tmp_path / "raw"
    local.mkdir()
    pairs = [("One » two", "Ştiinţa și"), ("One » two", "Ştiinţa și"), ("", "gol"), ("a b c d e f g h i j", "scurt")]
    for side, language in enumerate(("en", "ro")):
        for name in ("train", "valid", "newstest2016"):
            kept = pairs if name == "train" else [*pairs[:2], pairs[3]]
            (local / f"{name}.{language}").write_text("".join(f"{pair[side]}\n" for pair in kept), encoding="utf-8")
    download = (EXPERIMENTS / "wmt16-en-ro/download.sh", "--output", raw)
    printed = run(*HERE, *download, "--local", local)
    assert "1 empty" in printed and "1 ratio, 1 duplicate, 1 kept" in printed
    assert lines(raw / "train.ro") == ["Știința și"] and lines(raw / "train.en") == ['One " two']
    assert lines(raw / "newstest2016.ro") == ["Știința și", "Știința și", "scurt"]
    assert lines(raw / "newstest2016.en.original")[0] == "One » two"

    # carriage returns do not end lines; a line that is not UTF-8 is named
    (local / "valid.en").write_bytes(b"One\rtwo\r\nthree\nfour\n")
    run(*HERE, *download, "--local", local)
    assert [line.split() for line in lines(raw / "valid.en")] == [["One", "two"], ["three"], ["four"]]
    (local / "valid.ro").write_bytes(b"one\n\xff\nthree\n")
    assert "valid.ro: line 2 is not UTF-8; convert" in run(*HERE, *download, "--local", local, fails=True)

    # metrics that read the source get the published text
    original = ["bash", "-c", f"source {ROOT}/scripts/common.sh; original {raw}/valid.en; original {raw}/train.en"]
    assert run(*HERE, *original).split() == [f"{raw}/valid.en.original", f"{raw}/train.en"]

    (tmp_path / "archives").mkdir()
    (tmp_path / "archives/training-parallel-ep-v8.tgz").write_text("not the archive")
    printed = run(*HERE, *download, "--archives", tmp_path / "archives", fails=True)
    assert "training-parallel-ep-v8.tgz: its SHA-256 is not 8917bd3b" in printed


def test_chinese_in_characters(tmp_path: Path) -> None:
    for name, text in (("a.zh", "漢語 BLEU。\n"), ("a.en", "Chinese BLEU.\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    files = [f"--{kind}={tmp_path}/a" for kind in ("train", "valid")]
    options = [word for option in files for word in option.split("=")]
    languages = ("--source", "zh", "--target", "en", "--output", tmp_path / "raw")
    command = (ROOT / "scripts/clean.sh", *options, "--test", f"test={tmp_path}/a", *languages)
    run(*HERE, *command, "--segment", "characters")
    assert [line.split() for line in lines(tmp_path / "raw/train.zh")] == [["漢", "語", "BLEU", "。"]]

    (tmp_path / "without/jieba").mkdir(parents=True)
    (tmp_path / "without/jieba/__init__.py").write_text("raise ImportError", encoding="utf-8")
    printed = run(*HERE, f"PYTHONPATH={tmp_path}/without", *command, fails=True)
    assert "install weightdistill[chinese], or take --segment characters" in printed


def test_a_resumed_recipe_knows_where_its_text_came_from(tmp_path: Path) -> None:
    local, output = tmp_path / "local", tmp_path / "run"
    local.mkdir()
    for name in ("train", "valid", "newstest2016"):
        for language in ("en", "ro"):
            (local / f"{name}.{language}").write_text("text\n", encoding="utf-8")
    recipe = (ROOT / "scripts/reproduce.sh", "wmt16-en-ro", "--output", output)
    run(*HERE, f"LOCAL_DATA={local}", *recipe, "--", "raw/train.en")
    assert lines(output / "places") == [f"LOCAL_DATA={local}"]
    made = (output / "raw/train.en").stat().st_mtime_ns
    run(*HERE, f"LOCAL_DATA={tmp_path}/other", *recipe, "--dry-run")
    local.rename(tmp_path / "gone")
    assert "Nothing to be done" in run(*HERE, *recipe, "--", "raw/train.en")
    assert lines(output / "places") == [f"LOCAL_DATA={local}"]
    assert (output / "raw/train.en").stat().st_mtime_ns == made


def set_of(kind: str, language: str, *segments: str) -> str:
    """A test set as WMT shipped it."""
    inside = "".join(f'<seg id="{number}">{segment}</seg>\n' for number, segment in enumerate(segments, start=1))
    head = f'<{kind} setid="s" srclang="any" trglang="{language}">\n<doc sysid="ref" docid="d">\n<p>\n'
    return f"{head}{inside}</p>\n</doc>\n</{kind}>\n"


ARCHIVES = {
    "wmt16-en-ro": {
        "training-parallel-ep-v8.tgz": {
            "training-parallel-ep-v8/europarl-v8.ro-en.en": "Thank you.\n",
            "training-parallel-ep-v8/europarl-v8.ro-en.ro": "Mulţumesc.\n",
            "training-parallel-ep-v8/europarl-v8.fi-en.en": "No.\n",
        },
    },
    "wmt14-en-de-base": {
        "training-parallel-europarl-v7.tgz": {
            "training/europarl-v7.de-en.en": "Thank you very much.\n",
            "training/europarl-v7.de-en.de": "Danke.\n",
            "training/europarl-v7.fr-en.en": "No.\n",
        },
        "training-parallel-commoncrawl.tgz": {"commoncrawl.de-en.en": "A page\n", "commoncrawl.de-en.de": "Seite\n"},
        "training-parallel-nc-v9.tgz": {
            "training/news-commentary-v9.de-en.en": "News\n\n",
            "training/news-commentary-v9.de-en.de": "Neues\nleer\n",
        },
    },
}
# The test sets as sacrebleu keeps what it downloaded, by the end of the file's name.
SETS = {
    "wmt16-en-ro": {
        "wmt16/dev/wmt16_dev.en-ro": ("One &amp; two", "Unu și doi"),
        "wmt16/wmt16.en-ro": ("Three", "Trei"),
    },
    "wmt14-en-de-base": {
        "wmt13/wmt13.en-de": ("One", "Eins"),
        "wmt14/full/wmt14_full.en-de": ("Two", "Zwei"),
    },
}
MEMORY = """<?xml version="1.0"?><tmx version="1.4"><header/><body><tu>
<tuv xml:lang="en"><seg>A city</seg></tuv><tuv xml:lang="ro"><seg>Un oraş</seg></tuv></tu></body></tmx>"""
PREPARED = {
    "wmt16-en-ro": {
        "train": [("Thank you.", "Mulțumesc."), ("A city", "Un oraș")],
        "valid": [("One & two", "Unu și doi")],
        "newstest2016": [("Three", "Trei")],
    },
    "wmt14-en-de-base": {
        "train": [("A page", "Seite"), ("Thank you very much.", "Danke."), ("News", "Neues")],
        "valid": [("One", "Eins")],
        "newstest2014": [("Two", "Zwei")],
    },
}


@pytest.mark.parametrize("recipe", list(ARCHIVES))
def test_published_archives_are_downloaded_and_become_text(recipe: str, tmp_path: Path) -> None:
    served, raw, project = tmp_path / "served", tmp_path / "raw", tmp_path / "project"
    served.mkdir()
    for name, members in ARCHIVES[recipe].items():
        with tarfile.open(served / name, "w:gz") as archive:
            for member, text in members.items():
                content = text.encode()
                header = tarfile.TarInfo(member)
                header.size = len(content)
                archive.addfile(header, io.BytesIO(content))
    if recipe == "wmt16-en-ro":
        (served / "en-ro.tmx.gz").write_bytes(gzip.compress(MEMORY.encode()))
    # the script itself, with the checksums and addresses of these archives
    script = (EXPERIMENTS / recipe / "download.sh").read_text(encoding="utf-8")
    for path in served.iterdir():
        script, count = re.subn(
            rf"[0-9a-f]{{64}}( \\\n\s+)http\S*/{path.name}\n",
            rf"{files.fingerprint(path)}\g<1>file://{path}\n",
            script,
        )
        assert count == 1
    (project / "experiments" / recipe).mkdir(parents=True)
    (project / "scripts").symlink_to(ROOT / "scripts")
    download = project / "experiments" / recipe / "download.sh"
    download.write_text(script, encoding="utf-8")
    archives = project / "runs/archives"
    for name, sides in SETS[recipe].items():
        for field, text in zip(("src", "ref", "docid", "genre", "origlang"), (*sides, "", "", ""), strict=True):
            path = archives / "sacrebleu" / f"{name}.{field}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n", encoding="utf-8")
    first = min(served.iterdir())
    (archives / f"{first.name}.part").write_bytes(first.read_bytes()[:100])  # what an interrupted download left
    run(*HERE, "bash", download, "--output", raw)
    target = recipe.split("-")[2]
    for name, pairs in PREPARED[recipe].items():
        assert sorted(zip(lines(raw / f"{name}.en"), lines(raw / f"{name}.{target}"), strict=True)) == sorted(pairs)
    assert not (raw / "extracted").exists()
    assert {path.name for path in archives.iterdir()} == {"sacrebleu", *(path.name for path in served.iterdir())}


def test_an_unknown_recipe_is_refused(tmp_path: Path) -> None:
    printed = run(*HERE, ROOT / "scripts/reproduce.sh", "wmt99", "--output", tmp_path, fails=True)
    assert "experiments/wmt99/config.yaml; see --help for the recipes" in printed
    printed = run(*HERE, ROOT / "scripts/reproduce.sh", "tatoeba-de-en", "--output", tmp_path, fails=True)
    assert "tatoeba-de-en is no recipe of the paper's" in printed


def test_paths_may_have_blanks(data: Path, tmp_path: Path) -> None:
    project, output = tmp_path / "a project", tmp_path / "an output"
    project.mkdir()
    for name in ("experiments", "fairseq_plugins", "scripts", "setup.cfg", "weightdistill"):
        (project / name).symlink_to(ROOT / name)
    run(*HERE, project / "scripts/reproduce.sh", "wmt16-en-ro", "--smoke", "--output", output, "--", "raw/train.en")
    assert lines(output / "raw/train.en")
    options = [*TRAINING, *TEACHER_SHAPE, "--log-format", "json", "--max-update", 2, "--disable-validation"]
    run(*HERE, project / "scripts/train_teacher.sh", "--data", data, "--output", output / "teacher", "--", *options)
    assert (output / "teacher/training.json").exists()
    assert '"train_num_updates": "2"' in (output / "teacher/train.log").read_text(encoding="utf-8")


def test_tatoebas_archive_is_fetched_as_the_others_are(tmp_path: Path) -> None:
    text = "".join(f"Sentence {number}.\tSatz {number}.\r\n" for number in range(40))
    served, project = tmp_path / "served/deu-eng.zip", tmp_path / "project"
    served.parent.mkdir()
    with zipfile.ZipFile(served, "w") as archive:
        archive.writestr("deu.txt", text)
    folder = project / "experiments/tatoeba-de-en"
    folder.mkdir(parents=True)
    (project / "scripts").symlink_to(ROOT / "scripts")
    (folder / "split.py").symlink_to(EXPERIMENTS / "tatoeba-de-en/split.py")
    script = (EXPERIMENTS / "tatoeba-de-en/download.sh").read_text(encoding="utf-8")
    script = re.sub(r"ADDRESS=\S+", f"ADDRESS=file://{served}", script).replace("--held-out 1500", "--held-out 5")
    for column, language in enumerate(("en", "de")):
        side = "".join(line.split("\t")[column] + "\n" for line in text.splitlines()).encode()
        script = re.sub(rf"[0-9a-f]{{64}}  train\.{language}", f"{sha256(side).hexdigest()}  train.{language}", script)
    (folder / "download.sh").write_text(script, encoding="utf-8")
    archives = tmp_path / "archives"
    archives.mkdir()
    (archives / "deu-eng.zip.part").write_bytes(served.read_bytes()[:100])  # what an interrupted download left
    command = (*HERE, "bash", folder / "download.sh", "--output", tmp_path / "raw", "--archives", archives)
    run(*command)
    assert [len(lines(tmp_path / f"raw/{part}.de")) for part in ("train", "valid", "test")] == [30, 5, 5]
    served.unlink()
    run(*command)  # from the archive that is there


def test_a_sweep_reads_all_files_of_settings_and_stops_where_they_are_wrong(tmp_path: Path) -> None:
    experiment, work = tmp_path / "experiment", tmp_path / "work"
    (experiment / "sweeps").mkdir(parents=True)
    (experiment / "sweeps/starts.txt").write_text("student --seed 2\n")
    (work / "teacher").mkdir(parents=True)
    (work / "teacher/average.pt").touch()
    (experiment / "more.yaml").write_text("phase1_option: --x\n")
    shared = ("--configfile", EXPERIMENTS / "small.yaml", "--configfile", EXPERIMENTS / "en-ro/config.yaml")
    sweep = (*HERE, EXPERIMENTS / "sweep.sh", "--experiment", experiment, "--name", "starts", "--work", work, *shared)
    printed = run(*sweep, "--configfile", experiment / "more.yaml", fails=True)
    assert "there is no setting phase1_option; did you mean phase1_options?" in printed
    assert "student --seed 2 was not measured" in printed
    run(*sweep, fails=True)  # for want of data: the settings are complete now
    (log,) = work.glob("sweeps/1/*-0.log")
    assert "prepared/data-bin: no such folder" in log.read_text(encoding="utf-8")
    assert not (experiment / "results").exists()

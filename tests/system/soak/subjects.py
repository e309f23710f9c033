"""The commands that are broken off, each on a tiny invented corpus with tiny models; and the inputs that they need.

Every command that writes files is here. A subject writes to one folder, and to nothing else.
"""

import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from processes import start

ROOT = Path(__file__).resolve().parents[3]
PLUGIN = ROOT / "fairseq_plugins"
ENVIRONMENT = {
    **{"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "CUDA_VISIBLE_DEVICES": ""},
    **{"WEIGHTDISTILL_VENV": str(Path(sys.executable).parents[1])},
}
LANGUAGES = ("--source", "src", "--target", "tgt")

WIDTHS = [
    f"--{stack}-{option}={value}"
    for stack in ("encoder", "decoder")
    for option, value in (("layers", 2), ("embed-dim", 32), ("ffn-embed-dim", 64), ("attention-heads", 2))
]
# Saves within epochs and at their ends, dropout, validation; so that every place of a training matters.
TRAINING = [
    *("--cpu", "--lr", "5e-3", "--warmup-updates", "10", "--max-tokens", "1000", "--seed", "1", "--log-interval", "5"),
    *("--dropout", "0.1", "--save-interval-updates", "7", "--keep-interval-updates", "2", "--max-update", "40"),
]
PLAIN = [
    *("--num-workers", "0", "--required-batch-size-multiple", "1", "--optimizer", "adam", "--lr-scheduler"),
    *("inverse_sqrt", "--label-smoothing", "0.1", "--user-dir", str(PLUGIN), "--no-epoch-checkpoints"),
]


@dataclass(frozen=True)
class Subject:
    """A command that writes.

    Attributes:
        command: gives its words for the folder that it writes to.
        trials: so many trials of a kill, a full disk, and a disk that becomes read-only.
        forked: whether it runs in a fork; shell scripts and what starts processes of fairseq itself do not.
        ignored: patterns of files that differ between any two runs, because times are in them.
        unfinished: patterns of files that a stage makes in their place; another file says that they are finished.
        finished: that file, if there are such.
    """

    name: str
    command: Callable[[Path], list[str]]
    trials: tuple[int, int, int]
    forked: bool = True
    ignored: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()
    finished: str = ""


class Inputs:
    """What the commands read. Each input is made once, by the first command that needs it.

    Args:
        folder: holds them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _make(self, name: str, *commands: list[str], forked: bool = True) -> Path:
        folder = self._folder / name
        if not (done := folder / ".made").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for command in commands:
                log = self._folder / f"{name}.log"
                if code := start(command, log, ENVIRONMENT, forked=forked).wait(600):
                    raise RuntimeError(f"{shlex.join(command)} ended with {code}:\n{log.read_text()[-3000:]}")
            done.touch()
        return folder

    def _write(self, name: str, files: Mapping[str, Callable[[], str]]) -> Path:
        folder = self._make(name)
        for file, text in files.items():
            if not (folder / file).exists():
                (folder / file).write_text(text(), encoding="utf-8")
        return folder

    @property
    def raw(self) -> Path:
        """Parallel text of invented languages: train, valid and test."""
        folder = self._folder / "raw"
        sizes = ("--train", "600", "--valid", "40", "--test", "40")
        corpus = [sys.executable, str(ROOT / "experiments/toy/corpus.py"), "--output", str(folder), *sizes]
        return self._make("raw", corpus, forked=False)

    @property
    def much_text(self) -> Path:
        """The training text many times over, so that commands which only read and write take a while."""
        lines = {side: (self.raw / f"train.{side}").read_text().splitlines() for side in ("src", "tgt")}

        def many(side: str) -> str:
            return "".join(f"{line} {number}\n" for number in range(60) for line in lines[side])

        return self._write("much", {side: lambda side=side: many(side) for side in ("src", "tgt")})  # type: ignore[misc]

    @property
    def marked_up(self) -> Path:
        """The same text as a test set in SGML, as a translation memory, and as a corpus of the LDC."""
        sides = {side: (self.much_text / side).read_text().splitlines()[:12000] for side in ("src", "tgt")}

        def sgml(kind: str, side: str) -> str:
            segments = "".join(
                f"<seg id={number}> {escape(line)} </seg>\n" for number, line in enumerate(sides[side], 1)
            )
            head = f'<{kind} setid="set" srclang="src" trglang="tgt">\n<doc docid="one" sysid="ref">\n'
            return f"{head}{segments}</doc>\n</{kind}>\n"

        def memory() -> str:
            units = "".join(
                f'<tu><tuv xml:lang="src"><seg>{escape(first)}</seg></tuv>'
                f'<tuv xml:lang="tgt"><seg>{escape(second)}</seg></tuv></tu>\n'
                for first, second in zip(sides["src"], sides["tgt"], strict=True)
            )
            return f'<?xml version="1.0"?>\n<tmx version="1.4"><header srclang="src"/><body>\n{units}</body></tmx>\n'

        return self._write(
            "marked",
            {
                "source.sgm": lambda: sgml("srcset", "src"),
                "reference.sgm": lambda: sgml("refset", "tgt"),
                "memory.tmx": memory,
                "table.tsv": lambda: f"{self.much_text / 'src'}\t{self.much_text / 'tgt'}\n",
                "translations": lambda: "".join(f"{line}\n" for line in sides["tgt"]),
            },
        )

    @property
    def prepared(self) -> Path:
        """The text in subword pieces, and binarised."""
        command = ["bash", str(ROOT / "scripts/prepare.sh"), "--raw", str(self.raw), *LANGUAGES, "--output"]
        return self._make("prepared", [*command, str(self._folder / "prepared"), "--vocab-size", "200"], forked=False)

    @property
    def data(self) -> Path:
        """The binarised data."""
        return self.prepared / "data-bin"

    @property
    def teacher_folder(self) -> Path:
        """The checkpoints of a stock Transformer."""
        return self._make("teacher", teacher(self.data, self._folder / "teacher"))

    @property
    def teacher(self) -> Path:
        """The last of them."""
        return self.teacher_folder / "checkpoint_last.pt"

    @property
    def phase1(self) -> Path:
        """Phase 1's checkpoint."""
        folder = self._make("phase1", phase1(self, self._folder / "phase1"))
        return folder / "checkpoint_last.pt"

    @property
    def student(self) -> Path:
        """The student that it generated."""
        output = self._folder / "student/model.pt"
        self._make("student", ["weightdistill", "export", str(self.phase1), "--output", str(output)])
        return output

    @property
    def tiny_student(self) -> Path:
        """A student of the preset tiny, as `weightdistill train` has it."""
        folder = self._folder / "tiny"
        generator = [*phase1(self, folder), "--student-preset", "tiny"]
        export = ["weightdistill", "export", str(folder / "checkpoint_last.pt"), "--output", str(folder / "model.pt")]
        return self._make("tiny", generator, export) / "model.pt"

    @property
    def engine(self) -> Path:
        """The teacher as a CTranslate2 model."""
        folder = self._folder / "engine"
        command = ["weightdistill", "export", str(self.teacher), "--output", str(folder / "model.pt")]
        return self._make("engine", [*command, "--ctranslate2", str(folder / "ct2")]) / "ct2"

    @property
    def cache(self) -> Path:
        """Its cached predictions."""
        return self._make("cache", cache(self, self._folder / "cache"))


def teacher(data: Path, output: Path) -> list[str]:
    """Train a stock Transformer with fairseq-train."""
    stock = ("--task", "translation", "--arch", "transformer", "--criterion", "label_smoothed_cross_entropy")
    return [
        "fairseq-train",
        str(data),
        "--save-dir",
        str(output),
        *stock,
        *WIDTHS,
        "--share-all-embeddings",
        *PLAIN,
        *TRAINING,
    ]


def phase1(inputs: Inputs, output: Path) -> list[str]:
    """Train a generator with fairseq-train."""
    chosen = ("--task", "distillation", "--arch", "generated_transformer", "--criterion", "distillation")
    words = ["fairseq-train", str(inputs.data), "--save-dir", str(output), *chosen, "--teacher-path"]
    return [*words, str(inputs.teacher), *PLAIN, *TRAINING]


def student(inputs: Inputs, output: Path, *options: str) -> list[str]:
    """Train a student with fairseq-train."""
    chosen = ("--task", "distillation", "--arch", "student", "--criterion", "distillation")
    return ["fairseq-train", str(inputs.data), "--save-dir", str(output), *chosen, *PLAIN, *TRAINING, *options]


def cache(inputs: Inputs, output: Path) -> list[str]:
    """Cache the teacher's predictions in several shards."""
    shards = ("--top-k", "16", "--batch-tokens", "1000", "--shard-sentences", "100")
    return [
        "weightdistill",
        "cache-teacher",
        str(inputs.teacher),
        "--data",
        str(inputs.data),
        "--output",
        str(output),
        *shards,
    ]


def subjects(inputs: Inputs) -> dict[str, Subject]:
    """All subjects by name."""

    def stage(name: str, output: Path, *options: object) -> list[str]:
        return ["bash", str(ROOT / "scripts" / name), "--output", str(output), *map(str, options)]

    def train(name: str, output: Path, *options: object) -> list[str]:
        return ["weightdistill", "train", name, str(inputs.data), "--output", str(output), *map(str, options)]

    def tool(name: str, *options: object) -> list[str]:
        return ["weightdistill", name, *map(str, options)]

    def pair(output: Path) -> tuple[object, ...]:
        return "--output", output / "text", *LANGUAGES

    # a training's progress.json is removed at its end, and what it says there is the time that is left
    training = ("progress.json",)
    many = [
        Subject(
            "prepare.sh",
            lambda output: stage("prepare.sh", output, "--raw", inputs.raw, *LANGUAGES, "--vocab-size", 200),
            (6, 2, 2),
            forked=False,
            unfinished=("data-bin/*", "pieces/*"),
            finished="data-bin/done",
        ),
        Subject(
            "train teacher",
            lambda output: train("teacher", output, "--", *WIDTHS, *TRAINING),
            (6, 2, 1),
            ignored=training,
        ),
        Subject(
            "train student",
            lambda output: train("student", output, "--teacher", inputs.teacher, "--", *TRAINING),
            (5, 1, 1),
            ignored=training,
        ),
        Subject(
            "train phase1",
            lambda output: train("phase1", output, "--teacher", inputs.teacher, "--", *TRAINING),
            (6, 2, 1),
            ignored=training,
        ),
        Subject(
            "train phase2",
            lambda output: train(
                "phase2", output, "--teacher", inputs.teacher, "--student", inputs.tiny_student, "--", *TRAINING
            ),
            (5, 1, 1),
            ignored=training,
        ),
        Subject("fairseq-train teacher", lambda output: teacher(inputs.data, output), (4, 0, 0)),
        Subject(
            "fairseq-train student from a cache",
            lambda output: student(inputs, output, "--teacher-cache", str(inputs.cache)),
            (6, 1, 1),
        ),
        Subject("fairseq-train phase 1", lambda output: phase1(inputs, output), (9, 2, 1)),
        Subject(
            "fairseq-train phase 2",
            lambda output: student(
                *(inputs, output, "--teacher-path", str(inputs.teacher), "--finetune-from-model", str(inputs.student))
            ),
            (5, 1, 1),
        ),
        Subject(
            "average.sh",
            lambda output: stage(
                "average.sh", output / "average.pt", "--checkpoints", inputs.teacher_folder, "--last", 2
            ),
            (4, 1, 1),
            forked=False,
        ),
        Subject(
            "export",
            lambda output: tool(
                *("export", inputs.phase1, "--output", output / "model.pt", "--ctranslate2", output / "ct2"),
                *(
                    "--quantization",
                    "int8",
                    "--safetensors",
                    output / "model.safetensors",
                    "--huggingface",
                    output / "hf",
                ),
            ),
            (12, 3, 3),
        ),
        Subject("cache-teacher", lambda output: cache(inputs, output), (9, 3, 2)),
        Subject(
            "translate-corpus",
            lambda output: tool(
                *("translate-corpus", inputs.engine, "--source", inputs.prepared / "pieces/train.src", "--reference"),
                *(inputs.prepared / "pieces/train.tgt", "--output", output, "--shards", 6, "--real", 1, "--n-best", 3),
                *("--select", "chrf", "--max-ratio", 4),
            ),
            (8, 2, 2),
        ),
        Subject(
            "translate.sh",
            lambda output: stage(
                *("translate.sh", output, "--prepared", inputs.prepared, *LANGUAGES, "--model", inputs.engine),
                *("--shards", 4),
            ),
            (5, 1, 1),
            forked=False,
            unfinished=("data-bin/*", "pieces/*", "source", "target"),
            finished="data-bin/done",
        ),
        Subject(
            "translate",
            lambda output: tool(
                *("translate", inputs.engine, "--pieces", "--input", inputs.prepared / "pieces/train.src"),
                *("--output", output / "translations", "--beam", 2),
            ),
            (5, 1, 1),
        ),
        Subject(
            "clean",
            lambda output: tool(
                *("clean", "--source", inputs.much_text / "src", "--target", inputs.much_text / "tgt"),
                *(
                    "--output-source",
                    output / "src",
                    "--output-target",
                    output / "tgt",
                    "--json",
                    output / "counts.json",
                ),
                *("--deduplicate", "--max-length", 30),
            ),
            (4, 1, 1),
        ),
        Subject(
            "clean.sh",
            lambda output: stage(
                *("clean.sh", output, "--train", inputs.raw / "train", "--valid", inputs.raw / "valid"),
                *("--test", f"test={inputs.raw / 'test'}", *LANGUAGES),
            ),
            (4, 1, 1),
            forked=False,
            unfinished=("unclean/*",),
        ),
        Subject(
            "read-sgm",
            lambda output: tool(
                "read-sgm", inputs.marked_up / "source.sgm", inputs.marked_up / "reference.sgm", *pair(output)
            ),
            (4, 1, 1),
        ),
        Subject("read-tmx", lambda output: tool("read-tmx", inputs.marked_up / "memory.tmx", *pair(output)), (4, 1, 1)),
        Subject("read-ldc", lambda output: tool("read-ldc", inputs.marked_up / "table.tsv", *pair(output)), (3, 1, 0)),
        Subject(
            "write-sgm",
            lambda output: tool(
                *("write-sgm", inputs.marked_up / "translations", "--source", inputs.marked_up / "source.sgm"),
                *("--output", output / "set.sgm", "--system", "one", "--language", "tgt"),
            ),
            (3, 1, 0),
        ),
        Subject(
            "evaluate --json",
            lambda output: tool(
                *("evaluate", inputs.raw / "train.tgt", "--reference", inputs.raw / "train.src"),
                *("--metric", "bleu", "--metric", "chrf", "--metric", "ter", "--json", output / "scores.json"),
            ),
            (4, 1, 1),
        ),
        Subject(
            "evaluate.sh",
            lambda output: stage(
                *("evaluate.sh", output, "--model", inputs.engine, "--prepared", inputs.prepared, "--raw", inputs.raw),
                *LANGUAGES,
            ),
            (4, 1, 1),
            forked=False,
            unfinished=("*.part",),
        ),
        # all pieces are common here; candidates of single pieces differ, because eflomal takes another seed each time
        Subject(
            "vocabulary-map",
            lambda output: tool(
                *("vocabulary-map", "--source", inputs.prepared / "pieces/train.src", "--target"),
                *(inputs.prepared / "pieces/train.tgt", "--output", output / "vmap.txt"),
            ),
            (3, 1, 1),
        ),
        Subject(
            "workflow",
            lambda output: [
                *(sys.executable, "-m", "weightdistill.experiment.launch", "--folder", str(output), "--"),
                *("--configfile", str(Path(__file__).with_name("workflow.yaml")), "--cores", "1"),
                "exported/wd-tiny-1/model.pt",  # all trainings; evaluate.sh is a subject of its own, and timing differs
            ],
            (2, 0, 0),
            forked=False,
            ignored=(*training, "options.txt"),  # which holds SHA-256 of checkpoints, and times are in those
        ),
    ]
    return {subject.name: subject for subject in many}

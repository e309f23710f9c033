"""A small experiment: its results, and a workflow's folder that they might have come from."""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from weightdistill.experiment.comparison import Experiment
from weightdistill.experiment.gathering import gather
from weightdistill.experiment.settings import resolve
from weightdistill.experiment.tables import summary

TESTS = ("here", "there")
METHODS: dict[str, dict[str, Any]] = {
    "plain": {"title": "plain student", "group": "No teacher", "note": "Random weights."},
    "kd": {"title": "KD student", "group": "Soft labels"},
    "copied": {"title": "copied layers", "group": "Copied layers", "students": {"tiny": [1, 2]}},
    "wd": {"title": "WD, 2 + 6 epochs", "group": "Weight distillation", "generator": "default", "note": "In phases."},
    "wd-fixed": {
        "title": "WD, W_L fixed",
        "group": "Weight distillation",
        "generator": "default",
        "variant": True,
        "note": "Learns no W_L.",
        "students": {"tiny": [1]},
    },
}
SCORES = {  # by method and shape, of each seed: on the validation set, here and there
    ("teacher", None): [(31.0, 30.0, 20.0)],
    ("plain", "tiny"): [(20.0, 19.0, 9.0), (22.0, 21.0, 11.0)],
    ("kd", "tiny"): [(25.0, 24.0, 14.0), (25.0, 24.0, 14.0)],
    ("copied", "tiny"): [(28.0, 28.0, 17.0), (28.2, 28.0, 17.0)],
    ("wd", "tiny"): [(29.0, 27.0, 19.0), (29.2, 27.4, 19.4)],
    ("wd-fixed", "tiny"): [(27.0, 29.0, 21.0)],
    ("plain", "small"): [(26.0, 25.0, 15.0)],
    ("kd", "small"): [(28.0, 27.0, 17.0)],
    ("wd", "small"): [(31.5, 31.0, 20.0)],
}
RATES = {None: (100.0, 1.0), "tiny": (400.0, 4.0), "small": (200.0, 2.0)}
P_VALUES = {"here": 0.2, "there": 0.01}


def make_row(method: str, preset: str | None, seeds: Sequence[Sequence[float]]) -> dict[str, Any]:
    rate, ratio = RATES[preset]
    speed = {
        engine: {"1": {"sentences_per_second": {"median": rate}, "ratio": {"median": ratio}}}
        for engine in ("fairseq", "ctranslate2")
    }
    scores: dict[str, Any] = {}
    for place, test in enumerate(("valid", *TESTS)):
        scores[test] = {"bleu": summary([seed[place] for seed in seeds]), "against": {}}
        for baseline in ("teacher", "kd"):
            others = SCORES[baseline, preset if baseline == "kd" else None] if preset else []
            differences = [
                {"bleu": {"difference": seed[place] - other[place], "p_value": P_VALUES.get(test, 0.5)}}
                for seed, other in zip(seeds, others * len(seeds) if baseline == "teacher" else others, strict=False)
            ]
            scores[test]["against"][baseline] = [None] * len(seeds) if method == baseline else differences
    return {
        "method": method,
        "title": METHODS[method]["title"] if preset else "teacher",
        "preset": preset,
        "seeds": list(range(1, len(seeds) + 1)) if preset else [],
        "parameters": 1_000_000 if preset else 2_000_000,
        "scores": scores,
        "speed": speed,
        "training_seconds": summary([600.0 + place for place in range(len(seeds))]),
    }


SETTINGS = {
    **{name: "toy" for name in ("name", "raw")},
    "source": "en",
    "target": "de",
    "title": "A toy",
    "description": "Invented sentences.",
    "vocabulary": 700,
    "teacher": {"options": "--max-update 1"},
    "tests": list(TESTS),
    "evaluated": ["valid", *TESTS],
    "students": {"tiny": [1, 2], "small": [1]},
    "methods": METHODS,
    "baselines": ["kd"],
    "timed": "kd",
}
RESULTS = {
    "experiment": "toy",
    "settings_sha256": "0" * 64,
    "config": resolve(SETTINGS).as_dict(),
    "signatures": {"bleu": "nrefs:1"},
    "benchmark": {"beam": 4, "sentences": 10, "threads": 1, "repetitions": 3},
    "machine": {"versions": {"python": "3"}, "cpu": "A processor", "cpu_count": 2, "gpu": None},
    "rows": [make_row(method, preset, seeds) for (method, preset), seeds in SCORES.items()],
}


@pytest.fixture
def results() -> dict[str, Any]:
    """results.json of a teacher, four methods and a variant; TINY has two seeds, SMALL one."""
    return copy.deepcopy(RESULTS)


@pytest.fixture(scope="session")
def gathered(work: Path) -> dict[str, Any]:
    """report.json of the same experiment."""
    return dict(json.loads(json.dumps(gather(Experiment(RESULTS), work))))


LENGTHS = (3, 5, 8, 12, 20)
WORDS = ("a", "b", "c", "d", "e", "f", "g")


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory, make_log: Callable[[Path, Mapping[int, float]], None]) -> Path:
    """What the workflow of these results would have left: logs, translations, references and a phase-1 checkpoint.

    Each system's translations are the references, of which it has the last word wrong in one line of so many.
    """
    folder = tmp_path_factory.mktemp("work")
    references = [
        " ".join(WORDS[(line + place) % 7] for place in range(LENGTHS[line % 5])) + f" end{line} ."
        for line in range(40)
    ]
    wrong = {"teacher": 8, "plain": 1, "kd": 2, "copied": 4, "wd": 4, "wd-fixed": 8}
    for test in TESTS:
        write(folder / f"raw/{test}.de", references)
        write(folder / f"raw/{test}.en", [f"source {line}" for line in range(40)])
    write(folder / "raw/train.de", ["a b c d e f g ."] * 30)
    for (method, preset), seeds in SCORES.items():
        for seed in range(1, len(seeds) + 1):
            run = f"{method}-{preset}-{seed}" if preset else "teacher"
            for test in TESTS:
                lines = [
                    line.rsplit(" ", 2)[0] + " wrong ." if number % wrong[method] == seed % wrong[method] else line
                    for number, line in enumerate(references)
                ]
                write(folder / f"evaluated/{run}/{test}.txt", lines)
    make_log(folder / "teacher/train.log", {100: 3.0, 200: 2.0})
    make_log(folder / "students/kd-tiny-1/train.log", {100: 5.0, 200: 4.0})
    make_log(folder / "students/kd-tiny-2/train.log", {100: 5.2, 200: 4.5})
    make_log(folder / "phase1/wd-tiny-1/train.log", {50: 4.5})
    make_log(folder / "phase2/wd-tiny-1/train.log", {100: 3.5, 150: 3.25})
    layers = {"self_attn/k_proj/weight": [0.1, 0.8, 0.1], "fc1/weight": [0.0, 1.0, 0.5], "final/norm": [1.0]}
    state = {f"generator.classes.decoder/{name}.W_L": torch.tensor([weights]) for name, weights in layers.items()}
    state["generator.classes.encoder/fc1/weight.W_L"] = torch.tensor([[1.0, 2.0]])
    (folder / "phase1/wd-tiny-1").mkdir(parents=True, exist_ok=True)
    torch.save({"model": state, "cfg": {"model": {}}}, folder / "phase1/wd-tiny-1/checkpoint_best.pt")
    same = {name: torch.tensor([[0.0, 1.0, 0.0]]) for name in state}
    (folder / "phase1/wd-fixed-tiny-1").mkdir()
    torch.save({"model": same, "cfg": {"model": {}}}, folder / "phase1/wd-fixed-tiny-1/checkpoint_best.pt")
    write(folder / "benchmark/ctranslate2.json", ["{}"])
    return folder


@pytest.fixture(scope="session")
def make_log() -> Callable[[Path, Mapping[int, float]], None]:
    """Writes validation losses by updates as fairseq logs them."""

    def make(path: Path, losses: Mapping[int, float]) -> None:
        records = [
            {"valid_loss": "9", "valid_nll_loss": str(loss), "valid_num_updates": str(updates)}
            for updates, loss in losses.items()
        ]
        write(path, [f"2026-01-01 | INFO | valid | {json.dumps(record)}" for record in records])

    return make


def write(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")

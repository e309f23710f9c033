"""Compares a CTranslate2 model without and with a vocabulary map: BLEU, changed translations, and speed.

    python experiments/vocabulary-map/quality.py --model DIR --prepared DIR --raw DIR --source LANG --target LANG \
        --output FILE [--map FILE] [--test NAME] [--beam N] [--sentences N] [--repetitions N]

--prepared holds text.json and pieces/, --raw the references, NAME.LANG, or NAME.LANG.0 and so on if there are several.
Without --map, one is made of the training pieces in --prepared; that needs eflomal. CTranslate2 allows the candidates
of all sentences of a batch, so that BLEU is measured in batches of 1 and 32, as the speed. One CPU thread.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from sacrebleu.metrics.bleu import BLEU

from weightdistill.decoding.benchmark import benchmark_decoding
from weightdistill.decoding.engines import CTranslate2Engine, Search, translate
from weightdistill.decoding.translation import read_pieces
from weightdistill.decoding.vocabulary_map import MapSettings, make_map
from weightdistill.errors import DistillationError, reported
from weightdistill.files import read_lines, write_json
from weightdistill.terminal import text_table
from weightdistill.text.processing import TextProcessing

BATCH_SIZES = (1, 32)


def references(path: Path) -> list[list[str]]:
    """Read the reference of a test set, or all of them.

    Raises:
        DistillationError: There is none.
    """
    files = [path] if path.exists() else sorted(path.parent.glob(f"{path.name}.[0-9]"))
    if not files:
        raise DistillationError(f"{path} does not exist, nor does {path}.0; give the folder of the text with --raw")
    return [read_lines(file) for file in files]


def compare(options: argparse.Namespace, vocabulary_map: Path) -> dict[str, Any]:
    """Measure quality and speed without and with the map."""
    engines = [CTranslate2Engine(options.model, 1, False), CTranslate2Engine(options.model, 1, vocabulary_map)]
    processing = TextProcessing.read(options.prepared)
    sentences = list(read_pieces(options.prepared / "pieces" / f"{options.test}.{options.source}"))
    of_test = references(options.raw / f"{options.test}.{options.target}")
    bleu = BLEU(force=True)  # invented text may look tokenised
    rows: list[dict[str, Any]] = []
    for size in BATCH_SIZES:
        outputs = []
        for engine in engines:
            pieces = translate(engine, sentences, Search(options.beam, batch_size=size, batch_type="sentences"))
            outputs.append([processing.decode(" ".join(sentence)) for sentence in pieces])
        for output, name in zip(outputs, ("without map", "with map"), strict=True):
            changed = sum(first != second for first, second in zip(output, outputs[0], strict=True))
            score = bleu.corpus_score(output, of_test).score
            rows.append({"model": name, "batch_size": size, "bleu": score, "changed": changed / len(sentences)})
    speeds = benchmark_decoding(
        engines,
        sentences[: options.sentences],
        batch_sizes=BATCH_SIZES,
        beam=options.beam,
        repetitions=options.repetitions,
        threads=1,
    ).as_dict()
    for row, speed in zip(rows, speeds["speeds"], strict=True):
        row |= {name: speed[name] for name in ("sentences_per_second", "ratio", "tokens_per_sentence")}
    settings = {**speeds["settings"], "test": options.test, "signature": str(bleu.get_signature())}
    return {"rows": rows, "settings": settings, "machine": speeds["machine"]}


def table(result: dict[str, Any]) -> str:
    """Format the comparison."""
    lines = [
        [
            f"{row['model']}, batch {row['batch_size']}",
            f"{row['bleu']:.2f}",
            f"{row['changed']:.1%}",
            f"{row['sentences_per_second']['median']:.1f}",
            f"{row['ratio']['median']:.2f}",
        ]
        for row in result["rows"]
    ]
    return text_table(["model", "BLEU", "changed", "sentences/s", "ratio"], lines)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "prepared", "raw", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--map", type=Path)
    parser.add_argument("--test", default="test")
    parser.add_argument("--beam", type=int, default=4)
    parser.add_argument("--sentences", type=int, default=200, help="time the first N sentences")
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    coverage: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        vocabulary_map = options.map or Path(folder) / "vmap.txt"
        if options.map is None:
            train = options.prepared / "pieces" / "train"
            made, covered = make_map(
                train.with_suffix(f".{options.source}"), train.with_suffix(f".{options.target}"), MapSettings()
            )
            made.write(vocabulary_map)
            coverage = {"settings": vars(MapSettings()), "held_out": vars(covered)}
        result = compare(options, vocabulary_map)
    print(table(result))
    write_json(options.output, {**result, "map": coverage})


if __name__ == "__main__":
    with reported("quality"):
        main()

"""The command line: `weightdistill COMMAND`; `weightdistill --help` lists the commands.

Only reads options and prints; each command imports what it needs when it runs, so that `--help` is quick.
"""

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weightdistill.errors import DistillationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from weightdistill.engines import Engine, Pieces

app = typer.Typer(
    name="weightdistill",
    help="Weight distillation of fairseq Transformers: export, look into, translate with, score and time students.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

# Sentences between two steps of the progress bar; sorting them by length happens within.
_CHUNK = 512

Data = Annotated[Path | None, typer.Option("--data", help="Data folder; default: the one the checkpoint names.")]
Input = Annotated[Path, typer.Option("--input", help="Source pieces separated by blanks, one sentence a line.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the results here, too.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads; default: what torch takes.")]
LengthPenalty = Annotated[float, typer.Option("--length-penalty", help="Divide scores by length to this power.")]


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of phase 1, or of a plain transformer.")],
    output: Annotated[Path, typer.Option("--output", help="Plain fairseq checkpoint to write.")],
    data: Data = None,
    subset: Annotated[str, typer.Option(help="Subset whose batches prove that the export is equal.")] = "valid",
    batches: Annotated[int, typer.Option(min=1, help="Number of those batches.")] = 8,
    ctranslate2: Annotated[Path | None, typer.Option(help="CTranslate2 folder to write, too.")] = None,
    quantization: Annotated[
        str | None, typer.Option(help="Number format of the CTranslate2 model, e.g. int8; default: as it is.")
    ] = None,
    safetensors: Annotated[Path | None, typer.Option(help="File of weights to write, too.")] = None,
    teacher: Annotated[Path | None, typer.Option(help="The teacher of a phase-1 checkpoint, if it has moved.")] = None,
) -> None:
    """Write a checkpoint that stock fairseq loads, and prove on real batches that it gives the same logits."""
    if quantization is not None and ctranslate2 is None:
        raise DistillationError("--quantization is about the CTranslate2 model; name its folder with --ctranslate2")
    from fairseq_plugins.export import export as run

    report = run(
        checkpoint,
        output,
        data=data,
        subset=subset,
        batches=batches,
        ctranslate2=ctranslate2,
        quantization=quantization,
        safetensors=safetensors,
        teacher=teacher,
    )
    typer.echo(f"{report.parameters:,} parameters; largest difference of a logit {report.largest_difference:.1e}")
    for file in report.files:
        typer.echo(f"wrote {file}")


@app.command()
def inspect(checkpoint: Annotated[Path, typer.Argument(help="Any fairseq Transformer checkpoint.")]) -> None:
    """Show a checkpoint's parameters by class, its shapes, and of phase 1 the teacher and the learned W_L."""
    from fairseq_plugins.inspection import describe

    typer.echo(describe(checkpoint))


@app.command()
def translate(
    model: Annotated[Path, typer.Argument(help="fairseq checkpoint, or CTranslate2 folder.")],
    source: Input,
    output: Annotated[Path, typer.Option("--output", help="Translated pieces, one sentence a line.")],
    data: Data = None,
    beam: Annotated[int, typer.Option(min=1, help="Hypotheses kept at each step.")] = 5,
    length_penalty: LengthPenalty = 1.0,
    batch_tokens: Annotated[int, typer.Option(min=1, help="Padded source tokens decoded together.")] = 4096,
    threads: Threads = None,
) -> None:
    """Translate a file of subword pieces; an empty line stays empty."""
    _require_writable(output)
    sentences = _read_pieces(source)
    from tqdm import tqdm

    from weightdistill.checkpoint import writing
    from weightdistill.engines import Search
    from weightdistill.engines import translate as best

    settings = Search(beam, length_penalty=length_penalty, batch_size=batch_tokens)
    engine = _open(model, data, threads)
    with writing(output) as temporary:
        count = 0
        with (
            temporary.open("w", encoding="utf-8", newline="\n") as file,
            tqdm(total=len(sentences), unit="sentence", disable=None) as bar,
        ):
            for start in range(0, len(sentences), _CHUNK):
                chunk = sentences[start : start + _CHUNK]
                for pieces in best(engine, chunk, settings):
                    file.write(" ".join(pieces) + "\n")
                    count += 1
                bar.update(len(chunk))
        if count != len(sentences):
            raise DistillationError(f"{source} has {len(sentences)} sentences, but {count} were translated")
    typer.echo(f"wrote {output}: {count} sentences")


@app.command()
def distill(
    model: Annotated[Path, typer.Argument(help="The teacher: a CTranslate2 folder (fast), or a fairseq checkpoint.")],
    source: Annotated[Path, typer.Option("--source", help="Training sources in pieces, one sentence a line.")],
    output: Annotated[Path, typer.Option("--output", help="Receives shards/, source, target and distilled.json.")],
    data: Data = None,
    reference: Annotated[Path | None, typer.Option(help="Their references in pieces, for --select and --real.")] = None,
    shards: Annotated[int, typer.Option(min=1, help="Parts of the sources that are decoded one by one.")] = 1,
    only: Annotated[int | None, typer.Option(min=0, help="Decode this shard alone, counted from 0.")] = None,
    beam: Annotated[int, typer.Option(min=1, help="Hypotheses kept at each step.")] = 5,
    n_best: Annotated[int, typer.Option(min=1, help="Hypotheses to select from.")] = 1,
    length_penalty: LengthPenalty = 1.0,
    batch_tokens: Annotated[int, typer.Option(min=1, help="Padded source tokens decoded together.")] = 4096,
    select: Annotated[
        str, typer.Option(help="Choose by score, or nearest to the reference by bleu or chrf.")
    ] = "score",
    max_ratio: Annotated[float, typer.Option(help="Largest ratio of lengths in pieces, either way; 0: any.")] = 0.0,
    keep_copies: Annotated[bool, typer.Option("--keep-copies", help="Keep translations equal to the source.")] = False,
    real: Annotated[int, typer.Option(min=0, help="How many times the real pairs are in the result.")] = 0,
    distilled: Annotated[int, typer.Option(min=0, help="How many times the distilled ones are.")] = 1,
    threads: Threads = None,
) -> None:
    """Make the corpus of sequence-level distillation: the teacher translates the training sources."""
    from tqdm import tqdm

    from weightdistill import sequence_level as sequences
    from weightdistill.engines import Search

    filters, mixture = sequences.FilterSettings(select, max_ratio, keep_copies), sequences.Mixture(real, distilled)
    settings = Search(beam, n_best, length_penalty, batch_tokens)
    _require_writable(output / "distilled.json")
    sources = _read_pieces(source)
    references = None if reference is None else _read_pieces(reference)
    if references is not None and len(references) != len(sources):
        raise DistillationError(
            f"{source} and {reference} must have the same number of lines, but have {len(sources)} and "
            f"{len(references)}"
        )
    if select != "score" and n_best == 1:
        raise DistillationError(f"--select {select} chooses among several; give --n-best, or leave it out")
    if references is None and (real or select != "score"):
        raise DistillationError("--real and --select need the references; name their file with --reference")
    paths = [output / "shards" / f"{number}-of-{shards}.jsonl" for number in range(shards)]
    parts = {number: sequences.shard_of(len(sources), number, shards) for number in _chosen(only, shards)}
    provenance = sequences.source_provenance(source, model, "ctranslate2" if model.is_dir() else "fairseq")
    engine = _open(model, data, threads)
    with tqdm(total=sum(map(len, parts.values())), unit="sentence", disable=None) as bar:
        for number, lines in parts.items():
            own = {**provenance, "lines": [lines.start, lines.stop]}
            sequences.decode_shard(engine, sources[lines.start : lines.stop], paths[number], settings, own, bar.update)
    if only is not None:
        typer.echo(f"wrote {paths[only]}")
        return
    corpus = sequences.write_corpus(paths, output, sources, references, filters, mixture)
    reasons = ", ".join(f"{count} {reason}" for reason, count in corpus.counts().items())
    typer.echo(f"{len(corpus.pairs)} of {corpus.sentences} sentences translated; left out: {reasons}")


@app.command()
def cache_teacher(
    teacher: Annotated[str, typer.Argument(help="Its checkpoint; several, comma-separated, are averaged.")],
    output: Annotated[Path, typer.Option("--output", help="Folder that receives a folder for each subset.")],
    data: Data = None,
    subset: Annotated[list[str] | None, typer.Option(help="May be repeated; default: train and valid.")] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Words kept for each target token.")] = 64,
    temperature: Annotated[float, typer.Option(help="Softens the distributions; that of the training to come.")] = 1.0,
    batch_tokens: Annotated[int, typer.Option(min=1, help="Padded tokens predicted together.")] = 4096,
    shard_sentences: Annotated[int, typer.Option(min=1, help="Sentences in a file.")] = 10_000,
) -> None:
    """Write a teacher's predictions for the training data, so that students train without it (--teacher-cache)."""
    _quiet_fairseq()
    from tqdm import tqdm

    from fairseq_plugins.caching import cache_teacher as run

    for name in subset or ["train", "valid"]:
        with tqdm(desc=name, unit="sentence", disable=None) as bar:
            cache = run(
                teacher,
                output / name,
                data=data,
                subset=name,
                top_k=top_k,
                temperature=temperature,
                batch_tokens=batch_tokens,
                shard_sentences=shard_sentences,
                progress=bar.update,
            )
        size = sum(file["bytes"] for shard in cache.settings["shards"] for file in shard["files"].values())
        tokens = sum(shard["tokens"] for shard in cache.settings["shards"])
        typer.echo(
            f"{output / name}: {len(cache)} sentences, {tokens} tokens, {size / max(1, tokens):.0f} bytes a token"
        )


@app.command()
def evaluate(
    hypotheses: Annotated[list[Path], typer.Argument(help="Detokenised translations, a file a system.")],
    reference: Annotated[list[Path], typer.Option("--reference", help="Detokenised reference; may be repeated.")],
    metric: Annotated[
        list[str] | None,
        typer.Option(help="bleu, chrf, chrf++, ter or comet; may be repeated; default: bleu and chrf."),
    ] = None,
    lowercase: Annotated[bool, typer.Option("--lowercase", help="Ignore case.")] = False,
    tokenize: Annotated[str, typer.Option(help="BLEU's tokeniser: sacrebleu's name, or moses:LANG.")] = "13a",
    smooth: Annotated[str, typer.Option(help="BLEU's smoothing; none is that of multi-bleu.perl.")] = "exp",
    bootstrap: Annotated[int, typer.Option(min=0, help="Resamples of the paired bootstrap against the first.")] = 0,
    randomisation: Annotated[
        int, typer.Option(min=0, help="Trials of approximate randomisation against the first, instead.")
    ] = 0,
    comet: Annotated[Path | None, typer.Option(help="Checkpoint of the model for --metric comet.")] = None,
    source: Annotated[Path | None, typer.Option("--source", help="What was translated, for COMET.")] = None,
    json_file: Json = None,
) -> None:
    """Score translations with sacrebleu, or COMET."""
    if bootstrap and randomisation:
        raise DistillationError("--bootstrap and --randomisation are two tests; choose one")
    from tqdm import tqdm

    from weightdistill.evaluate import Settings, evaluate_files

    settings = Settings(
        metrics=tuple(metric or ("bleu", "chrf")),
        lowercase=lowercase,
        tokenize=tokenize,
        smooth=smooth,
        resamples=bootstrap or randomisation,
        test="randomisation" if randomisation else "bootstrap",
        comet=comet,
    )
    _require_writable(json_file)
    steps = max(1, len(hypotheses) - 1) * len([name for name in settings.metrics if name != "comet"])
    with tqdm(total=steps, desc=settings.test, unit="test", disable=None, delay=2) as bar:
        result = evaluate_files(hypotheses, reference, settings, source=source, progress=bar.update)
    typer.echo(result.table())
    _write_json(json_file, result.as_dict())


@app.command()
def clean(
    source: Annotated[
        Path, typer.Option("--source", help="One side of parallel text, a sentence a line; .gz is read.")
    ],
    target: Annotated[Path, typer.Option("--target", help="The other side.")],
    output_source: Annotated[Path, typer.Option("--output-source", help="File to write.")],
    output_target: Annotated[Path, typer.Option("--output-target", help="File to write.")],
    max_length: Annotated[int, typer.Option(help="Most words of a side; 0: any.")] = 0,
    max_ratio: Annotated[float, typer.Option(help="Largest ratio of both lengths, either way; 0: any.")] = 0.0,
    deduplicate: Annotated[bool, typer.Option("--deduplicate", help="Keep the first of equal pairs.")] = False,
    drop_empty: Annotated[bool, typer.Option("--drop-empty", help="Leave out empty sides; else an error.")] = False,
    json_file: Json = None,
) -> None:
    """Check parallel text line by line, and leave out pairs that are not fit to train on."""
    from weightdistill.corpus import CleanSettings
    from weightdistill.corpus import clean as run

    _require_writable(json_file)
    settings = CleanSettings(max_length, max_ratio, deduplicate, drop_empty)
    counts = run(source, target, output_source, output_target, settings).as_dict()
    typer.echo(
        f"{source}, {target}: " + ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
    )
    _write_json(json_file, counts)


@app.command()
def read_tmx(
    memory: Annotated[Path, typer.Argument(help="Translation memory, .tmx or .tmx.gz.")],
    output: Annotated[Path, typer.Option("--output", help="Prefix of the two files to write.")],
    source: Annotated[str, typer.Option(help="One language, and the ending of its file.")],
    target: Annotated[str, typer.Option(help="The other one.")],
) -> None:
    """Turn a translation memory into parallel text."""
    from weightdistill.checkpoint import writing
    from weightdistill.corpus import read_tmx as run

    count = 0
    with writing(Path(f"{output}.{source}")) as own, writing(Path(f"{output}.{target}")) as other:
        with own.open("w", encoding="utf-8") as left, other.open("w", encoding="utf-8") as right:
            for pair in run(memory, source, target):
                left.write(pair[0] + "\n")
                right.write(pair[1] + "\n")
                count += 1
        if not count:
            raise DistillationError(f"{memory} has no pair of {source} and {target}; name languages that it has")
    typer.echo(f"wrote {output}.{source} and {output}.{target}: {count} pairs")


@app.command()
def read_sgm(
    files: Annotated[
        list[Path], typer.Argument(help="Sources and references of one test set: NIST's SGML, WMT's XML.")
    ],
    output: Annotated[Path, typer.Option("--output", help="Prefix of the files to write, e.g. raw/MT06.")],
    source: Annotated[str, typer.Option(help="Ending of the file of sources, e.g. zh.")],
    target: Annotated[str, typer.Option(help="Ending of a reference, followed by .0, .1, ... if there are several.")],
    encoding: Annotated[
        str | None, typer.Option(help="Of all files; default: what they declare, else UTF-8, else GB 18030.")
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(help="sysid or translator of a reference to take; may be repeated; default: all."),
    ] = None,
) -> None:
    """Turn a test set of NIST or WMT into text, one segment a line, in the order of its source.

    --reference takes some of the references alone, e.g. one translator of WMT's who translated all documents.
    """
    from weightdistill.checkpoint import writing
    from weightdistill.sgm import read

    sets = [found for file in files for found in read(file, encoding)]
    sources, references = ([found for found in sets if found.kind == kind] for kind in ("source", "reference"))
    known = [found.system for found in references]
    if unknown := set(reference or ()) - set(known):
        raise DistillationError(f"--reference must be one of {', '.join(known)}, but is {', '.join(sorted(unknown))}")
    references = [found for found in references if not reference or found.system in reference]
    if len(sources) > 1:
        raise DistillationError(
            f"a test set must have one source, but {len(sources)} are in {', '.join(map(str, files))}"
        )
    order = (sources or references or sets)[0]
    endings = [target] if len(references) == 1 else [f"{target}.{number}" for number in range(len(references))]
    texts = {f"{output}.{ending}": found for ending, found in zip(endings, references, strict=True)}
    texts |= {f"{output}.{source}": found for found in sources}
    if not texts:
        raise DistillationError(f"{', '.join(map(str, files))} must hold a srcset or a refset, but has {order}")
    lines = {path: found.lines(order) for path, found in texts.items()}
    for path, found in texts.items():
        with writing(Path(path)) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines[path]), encoding="utf-8")
        typer.echo(f"wrote {path}: {found}, {len(found)} segments in {len(found.documents)} documents")


@app.command()
def write_sgm(
    translations: Annotated[Path, typer.Argument(help="A line for each segment of the source.")],
    source: Annotated[Path, typer.Option("--source", help="The test set's source, in SGML or XML.")],
    output: Annotated[Path, typer.Option("--output", help="The tstset to write.")],
    system: Annotated[str, typer.Option(help="Name of the system that translated.")],
    language: Annotated[str, typer.Option(help="Target language as the test set names it, e.g. English.")],
    encoding: Annotated[
        str | None, typer.Option(help="Of the source; default: what it declares, else UTF-8, else GB 18030.")
    ] = None,
) -> None:
    """Write translations as a tstset, which NIST's scorers read."""
    from weightdistill.evaluate import read_lines
    from weightdistill.sgm import read, write_translation

    sources = [found for found in read(source, encoding) if found.kind == "source"]
    if len(sources) != 1:
        raise DistillationError(f"{source} must hold one srcset, but has {len(sources)}")
    write_translation(output, read_lines(translations), sources[0], system, language)
    typer.echo(f"wrote {output}: {len(sources[0])} segments")


@app.command()
def benchmark(
    models: Annotated[list[Path], typer.Argument(help="fairseq checkpoints and CTranslate2 folders.")],
    source: Input,
    data: Data = None,
    beam: Annotated[int, typer.Option(min=1, help="Hypotheses kept at each step.")] = 4,
    length_penalty: LengthPenalty = 1.0,
    batch_size: Annotated[
        list[int] | None, typer.Option(min=1, help="Sentences decoded together; may be repeated; default: 1 and 64.")
    ] = None,
    repetitions: Annotated[int, typer.Option(min=1, help="Measurements of each model and batch size.")] = 3,
    sentences: Annotated[
        int | None, typer.Option(min=1, help="Take the first so many sentences; default: all.")
    ] = None,
    threads: Threads = None,
    json_file: Json = None,
) -> None:
    """Time the decoding of several models in turn; ratios are to the first."""
    _require_writable(json_file)
    pieces = _read_pieces(source)[:sentences]
    import torch
    from tqdm import tqdm

    from weightdistill.benchmark import benchmark_decoding

    sizes = batch_size or [1, 64]
    threads = threads or torch.get_num_threads()
    engines = [_open(model, data, threads) for model in models]
    with tqdm(total=len(sizes) * repetitions * len(engines), unit="run", disable=None) as bar:
        result = benchmark_decoding(
            engines,
            pieces,
            batch_sizes=sizes,
            beam=beam,
            length_penalty=length_penalty,
            repetitions=repetitions,
            threads=threads,
            progress=bar.update,
        )
    typer.echo(result.table())
    _write_json(json_file, result.as_dict())


@app.command()
def benchmark_training(
    teacher_preset: Annotated[str, typer.Option(help="Shape of the random teacher: base, big or deep.")] = "base",
    student_preset: Annotated[str, typer.Option(help="Student: tiny or small.")] = "tiny",
    width: Annotated[int | None, typer.Option(min=1, help="Width instead of the preset's.")] = None,
    generator: Annotated[str, typer.Option(help="Bundle of options: default, paper or authors.")] = "default",
    tokens: Annotated[int, typer.Option(min=1, help="Target tokens of a batch.")] = 4096,
    vocabulary: Annotated[int, typer.Option(min=8, help="Entries of the dictionary.")] = 32000,
    repetitions: Annotated[int, typer.Option(min=1, help="Measured updates of each model.")] = 5,
    bf16: Annotated[bool, typer.Option("--bf16", help="bf16 autocast.")] = False,
    threads: Threads = None,
    json_file: Json = None,
) -> None:
    """Time updates of phase 1 and of distillation against plain updates of the same student, on random data."""
    _require_writable(json_file)
    _quiet_fairseq()
    from tqdm import tqdm

    from fairseq_plugins.training_benchmark import UPDATES
    from fairseq_plugins.training_benchmark import benchmark_training as run

    with tqdm(total=len(UPDATES) * (1 + repetitions), unit="update", disable=None) as bar:
        result = run(
            teacher_preset=teacher_preset,
            student_preset=student_preset,
            width=width,
            generator=generator,
            tokens=tokens,
            vocabulary=vocabulary,
            repetitions=repetitions,
            bf16=bf16,
            threads=threads,
            progress=bar.update,
        )
    typer.echo(result.table())
    _write_json(json_file, result.as_dict())


@app.command()
def plan(
    config: Annotated[list[Path], typer.Argument(help="Settings of an experiment; later files replace earlier ones.")],
    tflops: Annotated[
        float | None, typer.Option(help="10^12 operations a second of a large matrix product; default: measured here.")
    ] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="GPUs that train, 0: a CPU; default: those here.")] = None,
    results: Annotated[
        Path | None, typer.Option(help="results.json of a run on such a machine, whose times stand beside the plan's.")
    ] = None,
    json_file: Json = None,
) -> None:
    """Say before an experiment what it costs: updates, parameters, time, memory, disk."""
    from dataclasses import replace

    import torch

    from weightdistill.plan import Machine, read_config
    from weightdistill.plan import plan as run

    _require_writable(json_file)
    settings = read_config(config)
    here = torch.cuda.device_count()
    if gpus is None:
        gpus = here
    if gpus and not here and not tflops:
        raise DistillationError("there is no GPU here whose speed could be measured; give --tflops, or --gpus 0")
    kind = "cuda" if gpus else "cpu"
    machine = Machine(tflops * 1e12, kind=kind) if tflops else Machine.here(kind)
    result = run(settings, replace(machine, devices=max(1, gpus)))
    typer.echo(result.table())
    if results is not None:
        typer.echo("\n" + result.against(json.loads(results.read_text(encoding="utf-8"))))
    _write_json(json_file, result.as_dict())


def main() -> None:
    """Run the command line; unusable input ends with one line on standard error and exit code 2."""
    try:
        app()
    except DistillationError as error:
        print(f"weightdistill: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


def _chosen(only: int | None, shards: int) -> "Iterable[int]":
    return range(shards) if only is None else [only]


def _open(model: Path, data: Path | None, threads: int | None) -> "Engine":
    _quiet_fairseq()
    from fairseq_plugins.engine import open_engine

    return open_engine(model, data, threads)


def _quiet_fairseq() -> None:
    """Keep what fairseq logs when it is imported, and for each dictionary, off the terminal."""
    logging.getLogger("fairseq").setLevel(logging.WARNING)


def _read_pieces(path: Path) -> "list[Pieces]":
    from weightdistill.evaluate import read_lines

    return [line.split() for line in read_lines(path)]


def _require_writable(path: Path | None) -> None:
    """Fail before the work is done, not after it, where its results cannot be written."""
    if path is None:
        return
    from weightdistill.checkpoint import require_writable

    require_writable(path)


def _write_json(path: Path | None, result: dict[str, Any]) -> None:
    if path is None:
        return
    from weightdistill.checkpoint import writing

    with writing(path) as temporary:
        temporary.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    typer.echo(f"wrote {path}")


if __name__ == "__main__":
    main()

"""The main job: a student of a teacher that is there already."""

import os
from pathlib import Path
from typing import Annotated

import typer

from weightdistill.errors import DistillationError
from weightdistill.places import separated_paths
from weightdistill.text.processing import SideProcessing, TextProcessing

app = typer.Typer()

_TEACHER, _TEXT, _RUN = "The teacher and its text", "How the teacher's text became pieces", "The run"


@app.command()
def distil(
    teacher: Annotated[
        str, typer.Option(help="Checkpoint of fairseq-train; several, comma-separated.", rich_help_panel=_TEACHER)
    ],
    source: Annotated[str, typer.Option(help="Source language, the ending of its files.", rich_help_panel=_TEACHER)],
    target: Annotated[str, typer.Option(help="Target language.", rich_help_panel=_TEACHER)],
    valid: Annotated[
        Path, typer.Option(help="Prefix of the validation set, raw text as in --train.", rich_help_panel=_TEACHER)
    ],
    test: Annotated[
        list[str],
        typer.Option(help="Prefix of a test set, or NAME=PREFIX; may be repeated.", rich_help_panel=_TEACHER),
    ],
    output: Annotated[Path, typer.Option(help="Folder that receives everything.", rich_help_panel=_RUN)],
    snakemake: Annotated[list[str] | None, typer.Argument(help="Options of Snakemake, after --.")] = None,
    train: Annotated[
        Path | None,
        typer.Option(
            help="Prefix of the training data: raw text, PREFIX.LANG or PREFIX.LANG.gz.", rich_help_panel=_TEACHER
        ),
    ] = None,
    data_bin: Annotated[
        Path | None,
        typer.Option(help="Or their folder of fairseq-preprocess.", rich_help_panel=_TEACHER),
    ] = None,
    sources: Annotated[
        Path | None,
        typer.Option(help="More source text, which the teacher translates.", rich_help_panel=_TEACHER),
    ] = None,
    dictionaries: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the teacher's dict.LANG.txt; default: where its checkpoint says, or beside it.",
            rich_help_panel=_TEACHER,
        ),
    ] = None,
    subwords: Annotated[
        Path | None,
        typer.Option(
            help="SentencePiece model, or BPE codes of subword-nmt or fastBPE; default: text is segmented already.",
            rich_help_panel=_TEXT,
        ),
    ] = None,
    target_subwords: Annotated[
        Path | None, typer.Option(help="The same of the target, where it differs.", rich_help_panel=_TEXT)
    ] = None,
    tokeniser: Annotated[
        str, typer.Option(help="none, moses, or for Chinese jieba or characters.", rich_help_panel=_TEXT)
    ] = "none",
    target_tokeniser: Annotated[
        str | None, typer.Option(help="The same of the target, where it differs.", rich_help_panel=_TEXT)
    ] = None,
    escape: Annotated[
        bool, typer.Option(help="Whether Moses' tokeniser wrote &apos; and the like.", rich_help_panel=_TEXT)
    ] = True,
    split_hyphens: Annotated[
        bool, typer.Option("--split-hyphens", help="It split hyphens (-a).", rich_help_panel=_TEXT)
    ] = False,
    normalise: Annotated[
        bool, typer.Option("--normalise", help="Moses' punctuation normalisation of the source.", rich_help_panel=_TEXT)
    ] = False,
    lowercase: Annotated[bool, typer.Option("--lowercase", help="In lower case.", rich_help_panel=_TEXT)] = False,
    truecase: Annotated[
        Path | None, typer.Option(help="Model of Moses' truecaser for the source.", rich_help_panel=_TEXT)
    ] = None,
    target_truecase: Annotated[Path | None, typer.Option(help="The same of the target.", rich_help_panel=_TEXT)] = None,
    remove_bpe: Annotated[
        str,
        typer.Option(
            help="How segmented text is joined, as in fairseq: '@@ ', sentencepiece ...", rich_help_panel=_TEXT
        ),
    ] = "none",
    text: Annotated[
        Path | None, typer.Option(help="text.json of an earlier run, instead of all these.", rich_help_panel=_TEXT)
    ] = None,
    preset: Annotated[str, typer.Option(help="Shape of the student: tiny or small.", rich_help_panel=_RUN)] = "tiny",
    quantization: Annotated[
        str, typer.Option(help="Of the CTranslate2 model: int8 (CPU), float16 (GPU), float32.", rich_help_panel=_RUN)
    ] = "int8",
    seed: Annotated[int, typer.Option(help="Of all random numbers.", rich_help_panel=_RUN)] = 1,
    settings: Annotated[
        list[Path] | None,
        typer.Option(help="Further settings, as in experiments/; may be repeated.", rich_help_panel=_RUN),
    ] = None,
    cores: Annotated[int | None, typer.Option(min=1, help="CPU cores; default: all.", rich_help_panel=_RUN)] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Go on with a teacher of less than 5 BLEU.", rich_help_panel=_RUN),
    ] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Try everything out in minutes, on little data.", rich_help_panel=_RUN)
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the inputs, and print what would run.", rich_help_panel=_RUN)
    ] = False,
) -> None:
    """Make a small, fast student of your teacher, ready to use: OUTPUT/model translates raw text.

    Interrupted, the command goes on where it stopped when it is given again.
    """
    import torch

    from fairseq_plugins.distil import Job, prepare
    from weightdistill.experiment.cost import Machine
    from weightdistill.experiment.launch import launch
    from weightdistill.experiment.plan import plan
    from weightdistill.experiment.settings import read

    if text is None:
        tokenisers = tokeniser, target_tokeniser or tokeniser
        if "moses" not in tokenisers and (split_hyphens or not escape):
            raise DistillationError("--split-hyphens and --no-escape are options of --tokeniser moses; leave them out")
        first, second = (
            SideProcessing(
                language,
                normalise=normalise and language == source,
                tokeniser=name,
                escape=escape or name != "moses",
                split_hyphens=split_hyphens and name == "moses",
                lowercase=lowercase,
                truecase=model,
                subwords=pieces,
                joining=remove_bpe,
            )
            for language, name, model, pieces in (
                (source, tokenisers[0], truecase, subwords),
                (target, tokenisers[1], target_truecase, target_subwords or subwords),
            )
        )
        processing = TextProcessing(first, second)
    else:
        processing = TextProcessing.read(text)
    tests: dict[str, Path] = {}
    for entry in test:
        name, equals, prefix = entry.partition("=")
        name, prefix = (name, prefix) if equals else (Path(entry).name, entry)
        if name in tests:
            raise DistillationError(f"two test sets are named {name}; name them with --test NAME=PREFIX")
        tests[name] = Path(prefix)
    gpus = torch.cuda.device_count()
    job = Job(
        teachers=tuple(map(str, separated_paths(teacher))),
        source=source,
        target=target,
        text=processing,
        valid=valid,
        tests=tests,
        output=output,
        train=train,
        train_bin=data_bin,
        sources=sources,
        dictionaries=dictionaries,
        preset=preset,
        quantization=quantization,
        seed=seed,
        least_bleu=0.0 if force else 5.0,
        smoke=smoke,
        gpus=gpus,
    )
    prepared = prepare(job)
    typer.echo(prepared)
    configs = [*prepared.configs, *(settings or [])]
    planned = read(configs)
    planned.teacher.path = str(prepared.teacher.paths[0])  # in the settings it is relative to the output folder
    typer.echo(plan(planned, Machine.chosen(None, gpus)).table())
    options = ["--configfile", *(str(path.resolve()) for path in configs), "--cores", str(cores or os.cpu_count())]
    options += ["--resources", f"gpu={gpus}"] if gpus else []
    options += [*(["--dry-run"] if dry_run else []), *(snakemake or [])]
    if launch(output, options):
        log = max((output / "logs").glob("*.log"), key=lambda path: path.stat().st_mtime, default=output / "logs")
        reason = log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2] if log.is_file() else ""
        raise DistillationError(f"a stage failed{reason and f': {reason}'}; see {log}")
    table = output / "results" / "table.md"
    if not dry_run and table.exists():
        typer.echo(table.read_text(encoding="utf-8"))
        typer.echo(f"{output / 'model'} is ready: weightdistill translate {output / 'model'} < TEXT > TRANSLATION")

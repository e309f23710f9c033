"""Command that trains: teachers, students, and both phases of weight distillation."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def train(
    stage: Annotated[
        str,
        typer.Argument(
            help="teacher: a plain Transformer; student: without a generator; phase1: the generator; phase2: the "
            "student that phase 1 generated.",
        ),
    ],
    data: Annotated[Path, typer.Argument(help="Folder of fairseq-preprocess or prepare.sh.")],
    output: Annotated[Path, typer.Option("--output", help="Receives checkpoints, train.log and tensorboard/.")],
    teacher: Annotated[
        str, typer.Option(help="The teacher's checkpoint; several, comma-separated, predict as an ensemble.")
    ] = "",
    student: Annotated[Path | None, typer.Option(help="For phase2: the exported student of phase 1.")] = None,
    preset: Annotated[str, typer.Option(help="Shape of the student: tiny or small.")] = "tiny",
    generator: Annotated[
        str, typer.Option(help="For phase1: bundle of generator options, default, paper or authors.")
    ] = "default",
    distillation_weight: Annotated[
        float | None, typer.Option(help="The teacher's share in the loss; default: 0.5, and 0 for student.")
    ] = None,
    temperature: Annotated[float, typer.Option(help="Softens the distributions of teacher and student.")] = 1.0,
    teacher_cache: Annotated[
        Path | None, typer.Option(help="Folder of cache-teacher: its predictions, to learn from without running it.")
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="-- [FAIRSEQ-TRAIN OPTIONS]...",
            help="Options of fairseq-train, which override the defaults; also --batch-tokens N: target tokens of an "
            "update, in as many passes as this machine needs.",
        ),
    ] = None,
) -> None:
    """Train one stage with fairseq-train; the same command resumes.

    Uses all GPUs in fp16, or the CPU. Without options, the length, batch and learning rate follow from the size of the
    data and the teacher's width.
    """
    from fairseq_plugins import training
    from fairseq_plugins.training_command import Training

    code = training.run(
        Training(
            stage,
            data,
            output,
            teacher=teacher,
            student=student,
            preset=preset,
            generator=generator,
            distillation_weight=distillation_weight,
            temperature=temperature,
            teacher_cache=teacher_cache,
            options=tuple(options or ()),
        )
    )
    raise typer.Exit(code)

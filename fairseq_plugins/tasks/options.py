"""The options of the distillation task."""

from dataclasses import dataclass, field
from typing import Optional

from fairseq.tasks.translation import TranslationConfig

from weightdistill.method.shape import STUDENTS
from weightdistill.method.student_init import LAYERS, WIDTHS


@dataclass
class DistillationTaskConfig(TranslationConfig):
    """Options of `translation`, and the following."""

    # fairseq makes command-line options of these annotations, and knows Optional only by that name
    teacher_path: Optional[str] = field(
        default=None,
        metadata={
            "help": "the teacher's checkpoint; several, comma-separated, predict as an ensemble; weights, settings and "
            "features come from the first",
            "values": "FILE[,FILE...]",
        },
    )
    teacher_cache: Optional[str] = field(
        default=None,
        metadata={
            "help": "a teacher's predictions for each split (weightdistill cache-teacher), to learn from without "
            "running it; --teacher-path is then needed only for weights that the student starts from",
            "values": "FOLDER",
        },
    )
    teacher_data: Optional[str] = field(
        default=None,
        metadata={
            "help": "where the teacher's dictionaries are, if not where its checkpoint says",
            "values": "FOLDER",
        },
    )
    student_preset: Optional[str] = field(
        default=None,
        metadata={
            "help": "shape of the student: one decoder layer with width and feed-forward halved (tiny), or two decoder "
            "layers (small); default: the teacher's; fairseq's options (--decoder-layers 3) override it",
            "choices": tuple(STUDENTS),
        },
    )
    student_init: Optional[str] = field(
        default=None,
        metadata={
            "help": "start of a student that is trained itself: random, the student of an untrained generator, or "
            f"teacher layers ({', '.join(LAYERS)}) and what becomes of their widths ({', '.join(WIDTHS)}), as in "
            "middle:select",
            "values": "random, generator, LAYERS[:WIDTHS]",
        },
    )
    checkpoint_command: Optional[str] = field(
        default=None,
        metadata={
            "help": "shell command to run after each checkpoint, with {} for its path",
            "values": "COMMAND",
        },
    )
    # fairseq's default, -1, ends in an error as soon as there is a train1 beside train
    upsample_primary: int = field(
        default=1,
        metadata={"help": "how often each epoch repeats train, if train1, train2, ... exist"},
    )
    cpu_bf16: bool = field(
        default=False,
        metadata={
            "help": "bfloat16 autocast with --cpu; weights and optimiser stay in float32; pays off from width 256"
        },
    )

"""Phase 1: a Transformer student whose weights a generator makes from the teacher's at each update.

The student's modules give up their Parameters. Before each forward pass in training, the generated tensors take their
place, so that optimiser, DDP and checkpoints see the generator's parameters alone. In eval mode the weights are
generated once.
"""

import argparse
import logging
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

import torch
from fairseq.models import register_model, register_model_architecture
from fairseq.models.transformer import TransformerModel
from fairseq.tasks import FairseqTask
from torch import Tensor, nn

from fairseq_plugins import students, teachers
from fairseq_plugins.teachers import Teacher
from weightdistill import checkpoint
from weightdistill.errors import DistillationError
from weightdistill.method.config import BUNDLES, GeneratorConfig
from weightdistill.method.generator import WeightGenerator
from weightdistill.method.layout import require_known

logger = logging.getLogger(__name__)

BUNDLE_HELP = (
    "bundle of the options below, which override it: starts that did best on Multi30k (default), the paper's equations "
    "(paper), or the choices of the authors' code (authors)"
)
"""Description of --generator."""


@register_model("generated_transformer")
class GeneratedTransformerModel(TransformerModel):
    """A stock Transformer driven by a WeightGenerator."""

    generator: WeightGenerator
    teacher_fingerprint: Tensor

    @classmethod
    def add_args(cls, parser: argparse.ArgumentParser) -> None:
        """Add the transformer's options, and those of the generator.

        Args:
            parser: receives them.
        """
        super().add_args(parser)
        parser.add_argument("--generator", choices=list(BUNDLES), help=BUNDLE_HELP)
        for option in fields(GeneratorConfig):
            name = f"--generator-{option.name.replace('_', '-')}"
            description = option.metadata["help"]
            if isinstance(option.default, bool):
                parser.add_argument(name, action=argparse.BooleanOptionalAction, help=description)
            else:
                parser.add_argument(name, choices=option.metadata.get("choices"), help=description)

    @classmethod
    def build_model(cls, args: Namespace, task: FairseqTask) -> "GeneratedTransformerModel":
        """Build the student, and drive it by a new generator.

        Args:
            args: options, which the architecture has completed.
            task: gives the dictionaries.

        Raises:
            DistillationError: the teacher cannot be read or cannot make this student.
        """
        teacher = teachers.read_all(args.teacher_path)[0]
        teacher.require_dictionaries(
            task.source_dictionary, task.target_dictionary, getattr(args, "teacher_data", None)
        )
        config = generator_config(args)
        for field in fields(config):  # the checkpoint records what was used, not what defaults will be one day
            setattr(args, f"generator_{field.name}", getattr(config, field.name))
        model: GeneratedTransformerModel = super().build_model(args, task)
        model.attach(teacher, students.shape_of(args, teacher.shape), config)
        return model

    def attach(self, teacher: Teacher, shape: Any, config: GeneratorConfig) -> None:
        """Replace the student's Parameters by tensors that a generator makes from the teacher.

        Args:
            teacher: source of the weights.
            shape: the student's TransformerShape.
            config: generator options.

        Raises:
            DistillationError: weights that the layout does not know, or that cannot be generated from this teacher.
        """
        self._teacher_path = teacher.path
        weights = dict(self.named_parameters(remove_duplicate=False))
        require_known(weights)
        aliases = students.tied_names(weights)
        for alias, name in aliases.items():
            tied, kept = teacher.state.get(alias), teacher.state.get(name)
            if tied is not None and kept is not None and not torch.equal(tied, kept):
                logger.warning(
                    "the student ties %s to %s, which differ in the teacher: only the latter is used", alias, name
                )
        self._slots: dict[str, tuple[nn.Module, str]] = {}
        for name in weights:
            module_name, _, attribute = name.rpartition(".")
            module = self.get_submodule(module_name)
            module._parameters.pop(attribute, None)  # an embedding that both stacks share comes twice
            self._slots[name] = module, attribute
        student = {name: weight.data for name, weight in weights.items() if name not in aliases}
        self.generator = WeightGenerator(teacher.state, teacher.shape, student, shape, aliases, config)
        self.register_buffer("teacher_fingerprint", checkpoint.fingerprint_tensor(teacher.fingerprint))  # (32,)
        self._regenerate()
        logger.info(
            "student of %s: %s weights generated by %s parameters in %d classes",
            teacher.path,
            f"{sum(weight.numel() for weight in student.values()):,}",
            f"{sum(parameter.numel() for parameter in self.generator.parameters()):,}",
            len(self.generator.classes),
        )

    def forward(self, *inputs: Any, **named_inputs: Any) -> Any:
        """Run the stock Transformer, in training with weights generated for this update."""
        if self.training:
            self._assign(self.generator())
        return super().forward(*inputs, **named_inputs)

    def train(self, mode: bool = True) -> "GeneratedTransformerModel":
        """Enter training or eval mode; the latter generates the weights once, for all passes that follow."""
        entering = self.training and not mode  # fairseq calls eval() before each batch of a validation
        super().train(mode)
        if entering and hasattr(self, "generator"):
            self._regenerate()
        return self

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Load a generator.

        Args:
            state_dict: its state.
            args: passed to fairseq.
            kwargs: passed to fairseq.

        Raises:
            DistillationError: it was trained from another teacher.
        """
        trained_from = state_dict.get("teacher_fingerprint")
        if trained_from is not None and not torch.equal(trained_from.cpu(), self.teacher_fingerprint.cpu()):
            before, now = map(checkpoint.fingerprint_text, (trained_from, self.teacher_fingerprint))
            raise DistillationError(
                f"this generator was trained from the teacher with SHA-256 {before}, but {self._teacher_path} has "
                f"{now}; give the right file (fairseq-train --teacher-path, fairseq-generate --model-overrides "
                "\"{'teacher_path': '...'}\", weightdistill export --teacher)"
            )
        result = super().load_state_dict(state_dict, *args, **kwargs)
        self._regenerate()
        return result

    def upgrade_state_dict_named(self, state_dict: dict[str, Any], name: str) -> None:
        """Leave the state as it is: no earlier version of fairseq knew the names of a generator's parameters."""

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> Any:
        super()._apply(fn, *args, **kwargs)  # a move or a change of precision, which generated tensors must follow
        if hasattr(self, "_slots"):
            self._regenerate()
        return self

    @torch.no_grad()
    def _regenerate(self) -> None:
        self._assign(self.generator())

    def _assign(self, state: Mapping[str, Tensor]) -> None:
        for name, (module, attribute) in self._slots.items():
            setattr(module, attribute, state[name])


@register_model_architecture("generated_transformer", "generated_transformer")
def generated_transformer(args: Namespace) -> None:
    """Fill in a student of --teacher-path, of the shape that --student-preset and fairseq's options give.

    Args:
        args: options of the training, changed in place.

    Raises:
        DistillationError: no teacher is given, the shape is impossible, or an option would run the backward pass of one
            layer at a time.
    """
    if not getattr(args, "teacher_path", None):
        raise DistillationError(
            "--arch generated_transformer makes the student's weights from its teacher's; give --teacher-path, also "
            "beside --teacher-cache"
        )
    students.fill_in(args)
    for option in ("checkpoint_activations", "offload_activations"):
        if getattr(args, option, False):  # all layers of a class come from one graph, which one layer's pass would free
            raise DistillationError(
                f"--{option.replace('_', '-')} does not work while weights are generated; train phase 1 without it"
            )


def generator_config(args: Namespace) -> GeneratorConfig:
    """Return the generator's options: those of the bundle, overridden by those given one by one.

    Args:
        args: options of the training.

    Raises:
        DistillationError: a value that is none of the choices.
    """
    bundle = getattr(args, "generator", None) or "default"
    if bundle not in BUNDLES:
        raise DistillationError(f"generator must be one of {', '.join(BUNDLES)}, but is {bundle!r}")
    given = {
        field.name: getattr(args, f"generator_{field.name}")
        for field in fields(GeneratorConfig)
        if getattr(args, f"generator_{field.name}", None) is not None
    }
    if given.get("layer_init") == "spaced":  # its name in checkpoints of older versions
        given["layer_init"] = "middle"
    if hasattr(args, "generator_sharing") and not hasattr(args, "generator_by_class"):
        given["by_class"] = ""  # an older checkpoint, whose version had the same options for all classes
    return replace(BUNDLES[bundle], **given)

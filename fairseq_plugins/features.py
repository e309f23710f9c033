"""Compares hidden states and attention scores of fairseq's Transformers while they run.

The losses are the library's (`weightdistill.distillation.hidden_states`); here is how features are read out of a model.
"""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from einops import einsum, rearrange
from torch import Tensor, nn

from weightdistill.distillation.hidden_states import LOSSES, Feature, Match
from weightdistill.distillation.schedules import schedule_factor
from weightdistill.errors import DistillationError
from weightdistill.method.shape import TransformerShape

_ATTENTIONS = {
    "encoder.attention": "self_attn",
    "decoder.attention": "self_attn",
    "decoder.cross_attention": "encoder_attn",
}


class FeatureMatcher(nn.ModuleDict):
    """Compares features of a student with those of its teacher, as a list of matches says.

    Its entries are the projections of the matches that have one, by the number of the match: parameters that are
    trained and saved with the criterion, and that never get into the student.

    Args:
        matches: what is compared.
        teacher: the teacher's shape.
        student: the student's shape.
        padding: index of the padding symbol.
        weight: multiplies the weights of all matches.

    Raises:
        DistillationError: the weight is out of range.
    """

    def __init__(
        self,
        matches: Sequence[Match],
        teacher: TransformerShape,
        student: TransformerShape,
        padding: int,
        weight: float = 1.0,
    ) -> None:
        """Make new projections."""
        projections = {str(number): match.projection(teacher, student) for number, match in enumerate(matches)}
        super().__init__({number: module for number, module in projections.items() if module is not None})
        if not 0 <= weight < math.inf:
            raise DistillationError(f"match weight must be finite and at least 0, but is {weight}")
        self._matches = list(matches)
        self._padding = padding
        self._weight = weight
        self._recorders: tuple[FeatureRecorder, FeatureRecorder] | None = None

    @contextlib.contextmanager
    def recording(self, student: nn.Module, teacher: nn.Module) -> Iterator[None]:
        """Record the features of both models in the forward passes within the block, whose end forgets them.

        Args:
            student: a fairseq Transformer, which data-parallel training may have wrapped.
            teacher: a fairseq Transformer.
        """
        of_student = [(match.feature, layer) for match in self._matches for layer in match.student_layers]
        of_teacher = [(match.feature, layer) for match in self._matches for layer in match.teacher_layers]
        with (
            FeatureRecorder(student, of_student, self._padding) as student_recorder,
            FeatureRecorder(teacher, of_teacher, self._padding) as teacher_recorder,
        ):
            self._recorders = student_recorder, teacher_recorder
            try:
                yield
            finally:
                self._recorders = None

    def forward(self, sample: dict[str, Any], progress: float) -> Tensor:
        """Return the weighted sum of all matches, in float32 also where autocast would have it otherwise.

        Args:
            sample: the batch that both models have read since `recording` began.
            progress: share of the updates that are done, within [0, 1].

        Raises:
            RuntimeError: called outside the block of `recording`.
        """
        if self._recorders is None:
            raise RuntimeError("features are compared within the block of FeatureMatcher.recording only")
        student_recorder, teacher_recorder = self._recorders
        device = sample["target"].device
        total = torch.zeros((), device=device)
        with torch.autocast(device.type, enabled=False):
            for number, match in enumerate(self._matches):
                student = student_recorder.read(match.feature, match.student_layers, sample)
                teacher = teacher_recorder.read(match.feature, match.teacher_layers, sample)
                if str(number) in self:
                    student = [_projected(feature, self[str(number)]) for feature in student]
                student, teacher = ([_in_float32(feature) for feature in side] for side in (student, teacher))
                weight = self._weight * match.weight * schedule_factor(match.schedule, progress)
                total = total + weight * LOSSES[match.loss].compute(student, teacher)
        return total


class FeatureRecorder:
    """Records features of a model in its forward passes within a `with` block, and leaves no hook on it.

    Args:
        model: a fairseq Transformer, which data-parallel training may have wrapped.
        features: names and layers of what is recorded (see `weightdistill.distillation.hidden_states.Match`).
        padding: index of the padding symbol.
    """

    def __init__(self, model: nn.Module, features: Iterable[tuple[str, int]], padding: int) -> None:
        """Take note of the model; nothing is recorded yet."""
        while isinstance(inner := getattr(model, "module", None), nn.Module):
            model = inner
        self._model = model
        self._features = list(dict.fromkeys(features))
        self._padding = padding
        self._values: dict[tuple[str, int], Tensor] = {}
        self._hooks = contextlib.ExitStack()

    def __enter__(self) -> "FeatureRecorder":
        """Hook the layers whose features are recorded."""
        for feature, layer in self._features:
            self._hooks.callback(self._hook(feature, layer).remove)
        return self

    def __exit__(self, *error: object) -> None:
        """Remove the hooks and let go of the last batch."""
        self._hooks.close()
        self._values.clear()

    def read(self, feature: str, layers: Sequence[int], sample: dict[str, Any]) -> list[Feature]:
        """Return a feature of some layers in the last forward pass.

        Args:
            feature: its name.
            layers: numbers of the layers.
            sample: the batch of that pass.
        """
        inputs = sample["net_input"]
        tokens = {"encoder": inputs["src_tokens"], "decoder": inputs["prev_output_tokens"]}
        mask = tokens[feature.partition(".")[0]].ne(self._padding)  # (batch, positions)
        if feature in _ATTENTIONS:
            keys = tokens["encoder"].ne(self._padding) if feature == "decoder.cross_attention" else mask
            mask = mask[:, :, None] & keys[:, None, :]  # (batch, queries, keys)
            if feature == "decoder.attention":
                mask = mask.tril()
        return [Feature(self._values[feature, layer], mask) for layer in layers]

    def _hook(self, feature: str, layer: int) -> Any:
        """Register the hook of a feature, and return its handle."""
        stack = self._model.get_submodule(feature.partition(".")[0])
        if feature in _ATTENTIONS:
            attention = stack.get_submodule(f"layers.{layer - 1}.{_ATTENTIONS[feature]}")
            return attention.register_forward_pre_hook(self._keep_scores(feature, layer), with_kwargs=True)
        if layer == 0:
            return stack.get_submodule("layers.0").register_forward_pre_hook(self._keep_input(feature))
        last = layer == len(list(stack.get_submodule("layers").children()))
        norm = getattr(stack, "layer_norm", None)
        source = norm if last and norm is not None else stack.get_submodule(f"layers.{layer - 1}")
        return source.register_forward_hook(self._keep_output(feature, layer))

    def _keep_output(self, feature: str, layer: int) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            states = output[0] if isinstance(output, tuple) else output
            self._values[feature, layer] = rearrange(states, "position batch width -> batch position width")

        return hook

    def _keep_input(self, feature: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any) -> None:
            self._values[feature, 0] = rearrange(inputs[0], "position batch width -> batch position width")

        return hook

    def _keep_scores(self, feature: str, layer: int) -> Callable[..., None]:
        def hook(module: Any, inputs: Any, named_inputs: dict[str, Any]) -> None:
            # Computed once more: fairseq gives the weights after the softmax, and averaged over the heads.
            query, key = module.q_proj(named_inputs["query"]) * module.scaling, module.k_proj(named_inputs["key"])
            query, key = (
                rearrange(side, "position batch (head width) -> batch head position width", head=module.num_heads)
                for side in (query, key)
            )
            scores = einsum(query, key, "batch head query width, batch head key width -> batch head query key")
            self._values[feature, layer] = scores

        return hook


def _projected(feature: Feature, projection: nn.Module) -> Feature:
    return Feature(projection(feature.values.to(next(projection.parameters()).dtype)), feature.mask)


def _in_float32(feature: Feature) -> Feature:
    return Feature(feature.values.float(), feature.mask)

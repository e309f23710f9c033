"""Reads hidden states and attention scores out of fairseq's Transformer while it runs."""

from collections.abc import Iterable, Sequence
from typing import Any

from einops import einsum, rearrange
from torch import Tensor, nn

from weightdistill.distillation.hidden_states import Feature

_ATTENTIONS = {
    "encoder.attention": "self_attn",
    "decoder.attention": "self_attn",
    "decoder.cross_attention": "encoder_attn",
}


class FeatureRecorder:
    """Records features in the forward passes of a model between `start` and `stop`.

    Args:
        model: a fairseq Transformer, also within a wrapper of data-parallel training.
        wanted: features with their layers (see `weightdistill.distillation.hidden_states.Match`).
        padding: index of the padding symbol.
    """

    def __init__(self, model: nn.Module, wanted: Iterable[tuple[str, int]], padding: int) -> None:
        while isinstance(inner := getattr(model, "module", None), nn.Module):
            model = inner
        self._padding = padding
        self._values: dict[tuple[str, int], Tensor] = {}
        self._active = False
        for feature, layer in set(wanted):
            stack = model.get_submodule(feature.partition(".")[0])
            if feature in _ATTENTIONS:
                attention = stack.get_submodule(f"layers.{layer - 1}.{_ATTENTIONS[feature]}")
                attention.register_forward_pre_hook(self._keep_scores(feature, layer), with_kwargs=True)
            elif layer == 0:
                stack.get_submodule("layers.0").register_forward_pre_hook(self._keep_input(feature))
            else:
                last = layer == len(list(stack.get_submodule("layers").children()))
                norm = getattr(stack, "layer_norm", None)
                source = norm if last and norm is not None else stack.get_submodule(f"layers.{layer - 1}")
                source.register_forward_hook(self._keep_output(feature, layer))

    def read(self, feature: str, layers: Sequence[int], sample: dict[str, Any]) -> list[Feature]:
        """The feature of these layers in the last forward pass, which was of this batch."""
        inputs = sample["net_input"]
        sides = {"encoder": inputs["src_tokens"], "decoder": inputs["prev_output_tokens"]}
        mask = sides[feature.partition(".")[0]].ne(self._padding)  # (batch, positions)
        if feature in _ATTENTIONS:
            keys = sides["encoder"].ne(self._padding) if feature == "decoder.cross_attention" else mask
            mask = mask[:, :, None] & keys[:, None, :]  # (batch, queries, keys)
            if feature == "decoder.attention":
                mask = mask.tril()
        return [Feature(self._values[feature, layer], mask) for layer in layers]

    def start(self) -> None:
        """Record from now on; other passes, such as decoding, are left alone."""
        self._active = True

    def stop(self) -> None:
        """Record no more, and let go of the last batch."""
        self._active = False
        self._values.clear()

    def _keep_output(self, feature: str, layer: int) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if not self._active:
                return
            states = output[0] if isinstance(output, tuple) else output
            self._values[feature, layer] = rearrange(states, "position batch width -> batch position width")

        return hook

    def _keep_input(self, feature: str) -> Any:
        def hook(module: nn.Module, inputs: Any) -> None:
            if not self._active:
                return
            self._values[feature, 0] = rearrange(inputs[0], "position batch width -> batch position width")

        return hook

    def _keep_scores(self, feature: str, layer: int) -> Any:
        def hook(module: Any, inputs: Any, named_inputs: dict[str, Any]) -> None:
            if not self._active:
                return
            # Computed once more: fairseq gives the weights after the softmax, and averaged over the heads.
            query, key = module.q_proj(named_inputs["query"]) * module.scaling, module.k_proj(named_inputs["key"])
            query, key = (
                rearrange(side, "position batch (head width) -> batch head position width", head=module.num_heads)
                for side in (query, key)
            )
            scores = einsum(query, key, "batch head query width, batch head key width -> batch head query key")
            self._values[feature, layer] = scores

        return hook

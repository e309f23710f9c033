"""Small stand-ins of teachers in all the forms that fairseq's users have, built from a random Transformer.

They have the settings, names of weights and files of fairseq's released models, but width 16.
"""

from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.models.transformer import TransformerModel

from weightdistill import checkpoint
from weightdistill.method.shape import StackShape, TransformerShape

State = dict[str, torch.Tensor]

# What fairseq of 2018 recorded of a translation model beside its sizes, and what it did not know yet.
OLD_SETTINGS = {
    **{"task": "translation", "source_lang": "aa", "target_lang": "bb", "data": ["/somewhere/else/data-bin"]},
    **{"left_pad_source": "True", "left_pad_target": "False", "max_source_positions": 64, "max_target_positions": 64},
    **{"criterion": "label_smoothed_cross_entropy", "lr": [0.0005], "min_lr": 1e-9, "raw_text": False, "dropout": 0.3},
    **{"relu_dropout": 0.0, "optimizer": "adam", "adam_betas": "(0.9, 0.98)", "ddp_backend": "no_c10d"},
}


def sizes(**different: int) -> dict[str, int]:
    """Settings of a Transformer of 2-2 layers, width 16."""
    small = {"layers": 2, "embed_dim": 16, "ffn_embed_dim": 32, "attention_heads": 2}
    both = {f"{stack}_{option}": value for stack in ("encoder", "decoder") for option, value in small.items()}
    return {**both, **different}


@dataclass(frozen=True)
class StandIn:
    """A model in a form of its own.

    Attributes:
        settings: its settings beside those of OLD_SETTINGS.
        form: where the file keeps settings: `args` or `cfg`.
        joined: whether both languages have one dictionary.
        change: makes the weights of the file from those of today's fairseq.
        recorded: changes the settings for the file, after the model was built by them.
    """

    settings: Mapping[str, Any]
    form: str = "args"
    joined: bool = True
    change: Callable[[State], State] = lambda state: state
    recorded: Callable[[dict[str, Any]], dict[str, Any]] = lambda settings: settings

    def shape(self) -> TransformerShape:
        """The shape that its settings stand for."""
        config = vars(self._namespace())
        encoder, decoder = (
            StackShape(
                *(config[f"{stack}_{name}"] for name in ("layers", "embed_dim", "ffn_embed_dim", "attention_heads"))
            )
            for stack in ("encoder", "decoder")
        )
        return TransformerShape(encoder, decoder)

    def write(self, folder: Path, name: str = "model.pt", seed: int = 1, data: Path | None = None) -> TransformerModel:
        """Write the file, with its dictionaries beside it.

        Args:
            folder: Where to.
            name: Name of the file.
            seed: Seed of the weights.
            data: Folder to take dictionaries from; default: those of 20 words.

        Returns:
            The model that the file holds, as today's fairseq builds it.
        """
        folder.mkdir(exist_ok=True)
        dictionaries = [_dictionary(data, language, self.joined) for language in ("aa", "bb")]
        for language, dictionary in zip(("aa", "bb"), dictionaries, strict=True):
            dictionary.save(str(folder / f"dict.{language}.txt"))
        torch.manual_seed(seed)
        task = Namespace(source_dictionary=dictionaries[0], target_dictionary=dictionaries[1])
        model = TransformerModel.build_model(self._namespace(), task).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) / 10)  # biases of 0 would hide mistakes
        weights = self.change({name: weight.clone() for name, weight in model.state_dict().items()})
        settings = self.recorded({**OLD_SETTINGS, **self.settings})
        torch.save({**self._settings_of_file(settings), "model": weights}, folder / name)
        return model

    def _namespace(self) -> Namespace:
        from fairseq.models import ARCH_CONFIG_REGISTRY

        args = Namespace(**{**OLD_SETTINGS, **self.settings})
        ARCH_CONFIG_REGISTRY.get(args.arch, lambda args: None)(args)
        ARCH_CONFIG_REGISTRY["transformer"](args)
        return args

    def _settings_of_file(self, settings: dict[str, Any]) -> dict[str, Any]:
        history = [{"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}, "num_updates": 9}]
        if self.form == "args":
            return {"args": Namespace(**settings), "optimizer_history": history, "extra_state": {}}
        settings = {**settings, "data": "/somewhere/else", "left_pad_source": True, "left_pad_target": False}
        model = {**settings, "_name": settings["arch"]}
        named = ("data", "source_lang", "target_lang", "max_source_positions", "max_target_positions")
        task = {"_name": "translation", **{key: settings[key] for key in named}}
        return {"cfg": {"model": model, "task": task}, "args": None}


def _dictionary(data: Path | None, language: str, joined: bool) -> Dictionary:
    if data is not None:
        return Dictionary.load(str(data / f"dict.{language}.txt"))
    dictionary = Dictionary()
    for word in range(20 if joined or language == "aa" else 25):
        dictionary.add_symbol(f"w{word:02}" if joined else f"{language}{word:02}")
    return dictionary


def fused(state: State) -> State:
    """Keep q, k and v in one matrix, and a tied output projection under no name, as fairseq before 0.9 did."""
    for name in [name for name in state if "attn.q_proj" in name]:
        parts = [state.pop(name.replace("q_proj", f"{part}_proj")) for part in "qkv"]
        state[name.replace("q_proj.", "in_proj_")] = torch.cat(parts)
    output = state.pop("decoder.output_projection.weight")
    if not torch.equal(output, state["decoder.embed_tokens.weight"]):
        state["decoder.embed_out"] = output
    return state


def numbered_norms(state: State) -> State:
    """Number the norms of encoder layers as well, as fairseq before 0.6.1 did."""
    for number, norm in enumerate(("self_attn_layer_norm", "final_layer_norm")):
        for name in [name for name in state if name.startswith("encoder.layers.") and norm in name]:
            state[name.replace(norm, f"layer_norms.{number}")] = state.pop(name)
    return fused(state)


def halved(state: State) -> State:
    """Keep weights in half precision."""
    return {name: weight.half() for name, weight in fused(state).items()}


def without_sizes(settings: dict[str, Any]) -> dict[str, Any]:
    """Leave out all that the name of the architecture says."""
    kept = {"arch", "share_all_embeddings", *OLD_SETTINGS}
    return {name: value for name, value in settings.items() if name in kept}


STAND_INS = {
    "wmt14 en-fr": StandIn(
        {**sizes(), "arch": "transformer_vaswani_wmt_en_fr_big", "share_all_embeddings": True}, change=numbered_norms
    ),
    "wmt16 en-de": StandIn(
        {**sizes(), "arch": "transformer_wmt_en_de_big_t2t", "share_all_embeddings": True}, change=fused
    ),
    "wmt18 en-de": StandIn(
        {**sizes(), "arch": "transformer_vaswani_wmt_en_de_big", "share_decoder_input_output_embed": True},
        change=halved,
    ),
    "wmt19 en-de": StandIn(
        {
            **sizes(encoder_ffn_embed_dim=64, encoder_layers=3),
            **{"arch": "transformer_wmt_en_de_big", "share_all_embeddings": True},
            **{"decoder_input_dim": 16, "decoder_output_dim": 16, "activation_fn": "relu"},
        }
    ),
    "wmt19 en-ru": StandIn(
        {
            **sizes(encoder_ffn_embed_dim=64),
            "arch": "transformer_wmt_en_de_big",
            "share_decoder_input_output_embed": True,
        },
        joined=False,
    ),
    "untied": StandIn({**sizes(), "arch": "transformer_wmt_en_de"}, change=fused, joined=False),
    "unequal stacks": StandIn(
        {**sizes(encoder_embed_dim=24, encoder_attention_heads=3), "arch": "transformer"}, form="cfg", joined=False
    ),
    "cfg": StandIn({**sizes(), "arch": "transformer_iwslt_de_en"}, form="cfg"),
    "preset alone": StandIn({"arch": "transformer_tiny", "share_all_embeddings": True}, recorded=without_sizes),
    "preset alone, new": StandIn({"arch": "transformer_tiny"}, form="cfg"),
    "preset of a plugin": StandIn({**sizes(), "arch": "my_small_transformer"}, form="cfg"),
    "learned positions": StandIn(
        {**sizes(), "arch": "transformer", "encoder_learned_pos": True, "decoder_learned_pos": True}, form="cfg"
    ),
}


def averaged(*paths: Path, output: Path) -> None:
    """Average checkpoints as fairseq's scripts/average_checkpoints.py does, which keeps all else of the first."""
    states = [checkpoint.read(path) for path in paths]
    weights = {name: sum(state["model"][name] for state in states) / len(states) for name in states[0]["model"]}
    torch.save({**states[0], "model": weights}, output)

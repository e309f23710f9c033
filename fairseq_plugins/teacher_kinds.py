"""Which models can be teachers: fairseq's Transformers that translate from one language to another.

Tells by the settings in a checkpoint, and says of every other model what it is and what to do instead.
"""

import re
from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_NAME_REGISTRY
from torch import Tensor

from weightdistill import checkpoint
from weightdistill.errors import DistillationError
from weightdistill.method.shape import SHAPE_OPTIONS, StackShape

_REMEDY = (
    "a teacher must be fairseq's `transformer` for one source and one target language; translate the training sources "
    "with this model, and train a student on its translations"
)
_TRANSFORMERS = ("transformer", "transformer_align")  # the latter differs in its loss only
_NO_TRANSFORMER = "is none of fairseq's plain Transformers"
_MULTILINGUAL = "is multilingual, with language tokens"
_SPEECH = "reads or writes speech"
_NON_AUTOREGRESSIVE = "is non-autoregressive"
_LANGUAGE_MODEL = "is a language model (decoder only)"
# Names of architectures or models -> what they are.
_MODELS = (
    (r".*_u?lm|hf_gpt2|speech_dlm", _LANGUAGE_MODEL),
    (r"masked_lm|(model_parallel_)?roberta|xmod|camembert|gottbert|xlmr", "is an encoder without a decoder"),
    (r"(fconv|lightconv).*", "is convolutional"),
    (r"lstm.*", "is an LSTM"),
    (r"multilingual_.*|mbart.*", _MULTILINGUAL),
    (r"bart.*", "is a BART"),
    (r"(iterative_)?nonautoregressive_.*|(nacrf|cmlm|levenshtein|insertion)_.*", _NON_AUTOREGRESSIVE),
    (r"(s2t|s2ut|s2spect2?|unity|tts|xm|conv)_?(conformer|transformer|xm_transformer|berard)", _SPEECH),
    (r"(wav2vec|hubert|tacotron|fastspeech).*", _SPEECH),
)
# Names of tasks -> what their models are.
_TASKS = (
    (r"translation_multi_simple_epoch.*|multilingual_translation.*|translation_from_pretrained_bart", _MULTILINGUAL),
    (r"semisupervised_translation|online_backtranslation", _MULTILINGUAL),
    (r"translation_lev.*", _NON_AUTOREGRESSIVE),
    (r".*language_modeling.*", _LANGUAGE_MODEL),
    (r"(simul_)?(speech|text)_to_speech|(simul_)?speech_to_.*|audio_.*|hubert_.*|.*_text_to_speech", _SPEECH),
)
# Settings that give a Transformer other weights -> what it then has.
_SETTINGS = {
    "adaptive_softmax_cutoff": "an adaptive softmax",
    "adaptive_input": "adaptive inputs",
    "no_cross_attention": "no cross-attention",
    "cross_self_attention": "one attention for both stacks",
}


def architecture(config: Mapping[str, Any]) -> str:
    """The name of a model's architecture in its settings."""
    return str(config.get("_name") or config.get("arch"))


def complete(config: Mapping[str, Any], name: str = "the model") -> dict[str, Any]:
    """Complete a Transformer's settings by what the name of its architecture stands for.

    Old checkpoints record fewer settings than fairseq has now, some nothing but the architecture
    (`transformer_vaswani_wmt_en_de_big`). Then the architecture is `transformer`, which means the same everywhere. A
    preset that only its author's plugin knows counts as a Transformer if its sizes are recorded.

    Args:
        config: settings of a model, flat. Those of other models are returned as they are.
        name: path of its checkpoint, for errors.

    Raises:
        DistillationError: the sizes of a Transformer are no numbers, or its width is no multiple of its heads.
    """
    kind = architecture(config)
    model = ARCH_MODEL_NAME_REGISTRY.get(kind)
    sizes = {f"{stack}_{option}" for stack in ("encoder", "decoder") for option in SHAPE_OPTIONS.values()}
    if model is None and not _described(_MODELS, kind) and sizes <= config.keys():
        kind = model = "transformer"
    if model not in _TRANSFORMERS:
        return dict(config)
    args = Namespace(**config)
    ARCH_CONFIG_REGISTRY[kind](args)
    for stack in ("encoder", "decoder"):
        _require_sizes(stack, vars(args), name)
    return {**vars(args), "_name": "transformer", "arch": "transformer"}


def require_own_weights(config: Mapping[str, Any], weights: Mapping[str, Tensor], name: str) -> None:
    """Check that a Transformer's weights are of the sizes in its settings.

    Args:
        config: its settings, completed.
        weights: its weights.
        name: path of its checkpoint, for the message.

    Raises:
        DistillationError: a stack has another depth or other widths.
    """
    for stack in ("encoder", "decoder"):
        numbers = [int(match[1]) for key in weights if (match := re.match(rf"{stack}\.layers\.(\d+)\.", key))]
        sizes = {"layers": 1 + max(numbers, default=-1)}
        if (inner := weights.get(f"{stack}.layers.0.fc1.weight")) is not None and inner.dim() == 2:
            sizes["ffn_embed_dim"], sizes["embed_dim"] = inner.shape
        for option, size in sizes.items():
            if config[f"{stack}_{option}"] != size:
                raise DistillationError(
                    f"{name}: {stack}_{option} must be the {size} of the weights, but the settings say "
                    f"{config[f'{stack}_{option}']}; use a checkpoint as fairseq wrote it"
                )


def require_translation_transformer(state: Mapping[str, Any], path: str) -> None:
    """Check that a checkpoint holds a Transformer that translates from one language to another.

    Args:
        state: the checkpoint.
        path: its file, for the message.

    Raises:
        DistillationError: it holds something else, or its settings contradict its weights; the message says what.
    """
    if any(weight.startswith("generator.") for weight in state["model"]):
        raise DistillationError(
            f"teacher {path} is a student of phase 1, whose weights a generator makes; export it first (weightdistill "
            f"export {path} --output plain.pt)"
        )
    config = complete(checkpoint.model_config(state), f"teacher {path}")
    obstacle = next(_obstacles(config, checkpoint.task_config(state)), None)
    if obstacle is not None:
        raise DistillationError(f"teacher {path} {obstacle}; {_REMEDY}")
    require_own_weights(config, state["model"], f"teacher {path}")


def _obstacles(config: Mapping[str, Any], task: Mapping[str, Any]) -> Iterator[str]:
    """Say what keeps a model from being a teacher.

    Args:
        config: the model's settings, completed.
        task: its task's settings.

    Yields:
        Predicates, such as "is an LSTM (architecture lstm)".
    """
    kind = architecture(config)
    model = ARCH_MODEL_NAME_REGISTRY.get(kind, kind)
    if model != "transformer":
        description = _described(_MODELS, kind) or _described(_MODELS, model) or _NO_TRANSFORMER
        yield f"{description} (architecture {kind})"
        return
    if kind_of_task := _described(_TASKS, str(task.get("_name"))):
        yield f"{kind_of_task} (task {task['_name']})"
    for option in ("encoder_langtok", "decoder_langtok"):
        if value := task.get(option) or config.get(option):
            yield f"{_MULTILINGUAL} ({option} {value})"
    for option, description in _SETTINGS.items():
        if value := config.get(option):
            yield f"has {description} ({option} {value})"
    width = config["decoder_embed_dim"]
    for option in ("decoder_input_dim", "decoder_output_dim"):
        if (size := config.get(option)) not in (None, width):
            yield f"projects its embeddings ({option} {size}, decoder_embed_dim {width})"


def _require_sizes(stack: str, config: Mapping[str, Any], name: str) -> None:
    fields = {field: f"{stack}_{option}" for field, option in SHAPE_OPTIONS.items()}
    for option in fields.values():
        if type(config.get(option)) is not int:
            raise DistillationError(
                f"{name}: {option} must be a whole number, but is {config.get(option)!r}; use a checkpoint as fairseq "
                "wrote it"
            )
    try:
        StackShape(**{field: config[option] for field, option in fields.items()})
    except DistillationError as error:
        raise DistillationError(f"{name}: {stack}: {error}") from None


def _described(table: tuple[tuple[str, str], ...], name: str) -> str | None:
    return next((description for pattern, description in table if re.fullmatch(pattern, name)), None)

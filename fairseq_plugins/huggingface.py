"""A fairseq Transformer as FSMT, the form in which the package `transformers` knows fairseq's translation models.

FSMT is one form of the Transformer: post-norm, with sinusoidal positions, encoder and decoder equally wide. What it
cannot hold is refused. The package is optional.
"""

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairseq.models import BaseFairseqModel
from fairseq.tasks.translation import TranslationTask
from torch import Tensor

from weightdistill.errors import DistillationError

if TYPE_CHECKING:
    from transformers import FSMTForConditionalGeneration

# The only value of each fairseq setting that FSMT can hold.
_REQUIRED = {
    "encoder_normalize_before": False,
    "decoder_normalize_before": False,
    "encoder_learned_pos": False,
    "decoder_learned_pos": False,
    "no_token_positional_embeddings": False,
    "layernorm_embedding": False,
    "adaptive_input": False,
    "adaptive_softmax_cutoff": None,
    "no_cross_attention": False,
    "cross_self_attention": False,
}
# Settings that must be equal to the encoder's width.
_WIDTHS = ("decoder_embed_dim", "decoder_input_dim", "decoder_output_dim")
# Activations, by their names in fairseq and in transformers.
_ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_accurate": "gelu_new",
    "gelu_fast": "gelu_new",
    "tanh": "tanh",
    "linear": "linear",
}
# Names in fairseq's state that are no weights, and names in FSMT's that are computed.
_BUFFERS = ("encoder.version", "decoder.version", "encoder.embed_positions.", "decoder.embed_positions.")
_COMPUTED = {"model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight"}

# What fairseq-generate does by default: --beam, --lenpen and --max-len-b.
_BEAM, _LENGTH_PENALTY, _LONGEST = 5, 1.0, 200


def require_package() -> None:
    """Check that `transformers` is there.

    Raises:
        DistillationError: It is missing, or older than version 5, whose FSMT ties embeddings that need not be tied.
    """
    remedy = "install it with: pip install 'weightdistill[huggingface]'"
    try:
        import transformers
    except ImportError as error:
        raise DistillationError(f"--huggingface needs the package transformers ({error}); {remedy}") from error
    if int(transformers.__version__.split(".")[0]) < 5:
        raise DistillationError(
            f"--huggingface needs transformers 5 or later, but {transformers.__version__} is installed; {remedy}"
        )


def require_expressible(model: BaseFairseqModel, name: str) -> None:
    """Check that FSMT can hold a model.

    Args:
        model: A stock `transformer`.
        name: What to call it in errors.

    Raises:
        DistillationError: A setting has a value that FSMT lacks.
    """
    settings = _settings(model)
    width = settings["encoder_embed_dim"]
    required = {**_REQUIRED, **dict.fromkeys(_WIDTHS, width)}
    for setting, value in required.items():
        present = settings.get(setting, value)
        if present != value and (present or value):  # an empty value is as good as none
            reason = " (encoder and decoder equally wide)" if setting in _WIDTHS else ""
            raise DistillationError(
                f"--huggingface: FSMT needs {setting} = {value!r}{reason}, but {name} has {present!r}; export it "
                "without --huggingface, for instance with --ctranslate2"
            )
    if settings["activation_fn"] not in _ACTIVATIONS:
        raise DistillationError(
            f"--huggingface: FSMT needs activation_fn = one of {', '.join(_ACTIVATIONS)}, but {name} has "
            f"{settings['activation_fn']!r}; export it without --huggingface, for instance with --ctranslate2"
        )


def write_model(
    model: BaseFairseqModel, weights: Mapping[str, Tensor], task: TranslationTask, folder: Path, name: str
) -> None:
    """Write an FSMT model: config.json, generation_config.json and model.safetensors.

    Args:
        model: A stock `transformer` that FSMT can hold.
        weights: Its state.
        task: Gives languages and dictionaries.
        folder: Receives the files.
        name: What to call the model in errors.

    Raises:
        DistillationError: The model has weights for which FSMT has no place.
    """
    from transformers import FSMTForConditionalGeneration

    settings = _settings(model)
    fsmt = FSMTForConditionalGeneration(_config(settings, task))
    state = {f"model.{key}": weight for key, weight in weights.items() if not key.startswith(_BUFFERS)}
    result = fsmt.load_state_dict(state, strict=False)
    if unplaced := sorted([*result.unexpected_keys, *(set(result.missing_keys) - _COMPUTED)]):
        raise DistillationError(
            f"--huggingface: FSMT must have the weights of {name}, but they differ in {unplaced[0]}; export it without "
            "--huggingface, for instance with --ctranslate2"
        )
    fsmt.generation_config = _generation_config(task, model.max_decoder_positions())
    with _quiet():
        fsmt.save_pretrained(folder)
    # safetensors makes a file that only its owner can read
    shutil.copymode(folder / "config.json", folder / "model.safetensors")


def read_model(folder: Path) -> "FSMTForConditionalGeneration":
    """Read an FSMT model as a user would: in eval mode, on the CPU."""
    from transformers import AutoModelForSeq2SeqLM

    with _quiet():
        model: FSMTForConditionalGeneration = AutoModelForSeq2SeqLM.from_pretrained(folder)
    return model.eval()


def logits(model: "FSMTForConditionalGeneration", inputs: Mapping[str, Tensor]) -> Tensor:
    """Compute a model's logits for one of fairseq's batches.

    Args:
        model: An FSMT model.
        inputs: The batch's `net_input`: src_tokens (batch, source), prev_output_tokens (batch, target).

    Returns:
        (batch, target, words).
    """
    sources = inputs["src_tokens"]
    output: Tensor = model(
        input_ids=sources,
        attention_mask=sources.ne(model.config.pad_token_id),
        decoder_input_ids=inputs["prev_output_tokens"],
        use_cache=False,
    ).logits
    return output


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the bars of `transformers`, which take no time."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    yield
    if shown:
        logging.enable_progress_bar()


def _settings(model: BaseFairseqModel) -> dict[str, Any]:
    """Return the settings that a stock `transformer` was built with, under the names of fairseq's options."""
    stacks = {"encoder": vars(model.cfg.encoder), "decoder": vars(model.cfg.decoder)}
    nested = {f"{stack}_{name}": value for stack, settings in stacks.items() for name, value in settings.items()}
    return {**vars(model.cfg), **nested}


def _config(settings: Mapping[str, Any], task: TranslationTask) -> Any:
    from transformers import FSMTConfig

    return FSMTConfig(
        langs=[task.cfg.source_lang, task.cfg.target_lang],
        src_vocab_size=len(task.source_dictionary),
        tgt_vocab_size=len(task.target_dictionary),
        d_model=settings["encoder_embed_dim"],
        activation_function=_ACTIVATIONS[settings["activation_fn"]],
        max_position_embeddings=max(settings["max_source_positions"], settings["max_target_positions"]),
        scale_embedding=not settings["no_scale_embedding"],
        # This ties all three; decoder input and output alone are stored twice.
        tie_word_embeddings=settings["share_all_embeddings"],
        **{
            f"{stack}_{fsmt}": settings[f"{stack}_{fairseq}"]
            for stack in ("encoder", "decoder")
            for fsmt, fairseq in (
                ("layers", "layers"),
                ("attention_heads", "attention_heads"),
                ("ffn_dim", "ffn_embed_dim"),
                ("layerdrop", "layerdrop"),
            )
        },
        **{name: settings[name] for name in ("dropout", "attention_dropout", "activation_dropout")},
        **_tokens(task),
    )


def _generation_config(task: TranslationTask, positions: int) -> Any:
    """Return the settings of beam search as fairseq-generate has them by default."""
    from transformers import GenerationConfig

    return GenerationConfig(
        num_beams=_BEAM,
        length_penalty=_LENGTH_PENALTY,
        early_stopping=True,
        # Both count the first token, which is no piece. fairseq writes at least one piece, and the end of the sentence
        # after the last one.
        min_length=2,
        max_length=min(_LONGEST, positions - 1) + 2,
        suppress_tokens=[task.target_dictionary.pad()],
        **_tokens(task),
    )


def _tokens(task: TranslationTask) -> dict[str, int]:
    words = task.target_dictionary
    return {
        "bos_token_id": words.bos(),
        "pad_token_id": words.pad(),
        "eos_token_id": words.eos(),
        "decoder_start_token_id": words.eos(),
        "forced_eos_token_id": words.eos(),
    }

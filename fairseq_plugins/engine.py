"""Translates in this process with fairseq's own beam search, and chooses the engine that a model needs.

Loads any fairseq Transformer checkpoint: of stock fairseq-train, of phase 1, or an exported one.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from fairseq.data import data_utils
from fairseq.models import ARCH_MODEL_REGISTRY, build_model, import_models
from fairseq.sequence_generator import SequenceGenerator
from fairseq.tasks.translation import TranslationConfig, TranslationTask

from weightdistill import checkpoint
from weightdistill.engines import LONGEST_OUTPUT, BatchType, CTranslate2Engine, Engine, Pieces, translate_filled
from weightdistill.errors import DistillationError


class FairseqEngine:
    """A fairseq checkpoint in float32, on the GPU where there is one.

    Args:
        path: the checkpoint.
        data: folder with the dictionaries; None for the one that the checkpoint was trained on.
        threads: CPU threads of torch, for the whole process; None leaves them as they are.

    Raises:
        DistillationError: the checkpoint cannot be read, its dictionaries are not found, or its weights do not fit.
    """

    def __init__(self, path: str | Path, data: Path | None = None, threads: int | None = None) -> None:
        self.name = str(path)
        state = checkpoint.read(path)
        self._task = _task(state, data, self.name)
        self._model = _build(checkpoint.model_config(state), self._task, self.name)
        try:
            self._model.load_state_dict(state["model"], strict=True)
        except (RuntimeError, KeyError) as error:
            raise DistillationError(
                f"the weights of {path} do not fit the model that its settings and the dictionaries of "
                f"{self._task.cfg.data} give: {error}"
            ) from error
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model.float().to(self._device).eval()
        self.parameters = _count_parameters(self._model)
        if threads:
            torch.set_num_threads(threads)

    def translate(
        self,
        sentences: Sequence[Pieces],
        beam: int = 5,
        batch_size: int = 4096,
        batch_type: BatchType = "tokens",
        length_penalty: float = 1.0,
    ) -> list[Pieces]:
        """See `weightdistill.engines.Engine.translate`."""

        def run(filled: list[Pieces]) -> list[Pieces]:
            target = self._task.target_dictionary
            generator = SequenceGenerator(
                [self._model], target, beam_size=beam, max_len_b=LONGEST_OUTPUT, len_penalty=length_penalty
            )
            tokens = [self._encode(sentence) for sentence in filled]
            lengths = [len(sentence) for sentence in tokens]
            dataset = self._task.build_dataset_for_inference(tokens, torch.tensor(lengths))
            outer = {target.bos(), target.eos(), target.pad()}
            results: list[Pieces] = [[] for _ in filled]
            for batch in batches(lengths, batch_size, batch_type):
                sample = dataset.collater([dataset[index] for index in batch])
                inputs = {name: value.to(self._device) for name, value in sample["net_input"].items()}
                for index, hypotheses in zip(
                    sample["id"].tolist(), generator.generate([self._model], {"net_input": inputs}), strict=True
                ):
                    best = hypotheses[0]["tokens"].tolist()
                    results[index] = [target[token] for token in best if token not in outer]
            return results

        return translate_filled(sentences, run, beam=beam, batch_size=batch_size)

    def _encode(self, sentence: Pieces) -> torch.Tensor:
        dictionary = self._task.source_dictionary
        longest = self._model.max_positions()[0]
        if len(sentence) + 1 > longest:
            raise DistillationError(
                f"a sentence must have at most {longest - 1} pieces for {self.name}, but one has {len(sentence)}: "
                f"{' '.join(sentence[:8])} ...; split it"
            )
        return torch.tensor([*map(dictionary.index, sentence), dictionary.eos()])  # (pieces + 1,)


def open_engine(model: Path, data: Path | None = None, threads: int | None = None) -> Engine:
    """Load a model with the engine for its format: a CTranslate2 folder, or a fairseq checkpoint.

    Raises:
        DistillationError: the path is neither, or as the engine.
    """
    if model.is_dir():
        if not (model / "model.bin").is_file():
            raise DistillationError(f"{model} holds no model.bin; give a CTranslate2 folder or a fairseq checkpoint")
        return CTranslate2Engine(model, threads)
    return FairseqEngine(model, data, threads)


def batches(lengths: Sequence[int], size: int, unit: BatchType) -> Iterator[list[int]]:
    """Cut indices, longest first, into batches of `size` sentences or padded tokens; a longer sentence goes alone."""
    batch: list[int] = []
    longest = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        grown = (len(batch) + 1) * (1 if unit == "sentences" else max(longest, lengths[index]))
        if batch and grown > size:
            yield batch
            batch, longest = [], 0
        longest = max(longest, lengths[index])
        batch.append(index)
    if batch:
        yield batch


def _task(state: Mapping[str, Any], data: Path | None, name: str) -> TranslationTask:
    """A stock translation task with the checkpoint's languages."""
    settings = (checkpoint.plain(state.get("cfg")) or {}).get("task") or checkpoint.model_config(state)
    if data is None and not settings.get("data"):
        raise DistillationError(f"{name} does not say on which data it was trained; name the folder with --data")
    folder = Path(data) if data is not None else Path(str(settings["data"]).split(":")[0])
    if not folder.is_dir():
        raise DistillationError(f"data folder {folder} of {name} does not exist; name one with --data")
    languages = [settings.get("source_lang"), settings.get("target_lang")]
    if None in languages:
        languages = list(data_utils.infer_language_pair(str(folder)))
    if None in languages:
        raise DistillationError(f"neither {name} nor the files of {folder} name the source and target languages")
    for language in languages:
        dictionary = folder / f"dict.{language}.txt"
        if not dictionary.is_file():
            raise DistillationError(f"{dictionary} does not exist; name a folder of fairseq-preprocess with --data")
    return TranslationTask.setup_task(
        TranslationConfig(data=str(folder), source_lang=languages[0], target_lang=languages[1])
    )


def _build(config: Mapping[str, Any], task: TranslationTask, name: str) -> Any:
    kind = config.get("_name") or config.get("arch")
    if kind not in ARCH_MODEL_REGISTRY:
        import_models(str(Path(__file__).parent / "models"), "fairseq_plugins.models")
    if kind not in ARCH_MODEL_REGISTRY:
        raise DistillationError(f"{name} is of architecture {kind!r}, which neither fairseq nor this plugin knows")
    return build_model(argparse.Namespace(**config), task)


def _count_parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())

"""Translates with fairseq's beam search or sampling; and checks that a model and a data folder have the same words."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from fairseq.data import Dictionary, data_utils
from fairseq.search import Sampling as SamplingStrategy
from fairseq.sequence_generator import SequenceGenerator

from fairseq_plugins import teachers
from fairseq_plugins.loading import load_model, require_binarised, translation_task
from weightdistill import checkpoint
from weightdistill.decoding.engines import (
    LONGEST_OUTPUT,
    BatchType,
    Hypothesis,
    Pieces,
    Search,
    search_filled,
    vocabulary,
)
from weightdistill.errors import DistillationError


class FairseqEngine:
    """A fairseq checkpoint in float32, on the GPU where there is one.

    Args:
        path: the checkpoint.
        data: folder with the dictionaries; None for the one that the checkpoint was trained on.
        threads: CPU threads of torch, for the whole process; None leaves them as they are.

    Raises:
        DistillationError: the checkpoint cannot be read, its dictionaries do not exist, or its weights do not fit.
    """

    def __init__(self, path: str | Path, data: Path | None = None, threads: int | None = None) -> None:
        """Load the model."""
        self.name = str(path)
        state = checkpoint.read(path)
        self._task = translation_task(state, data, self.name)
        self._model = load_model(checkpoint.model_config(state), state["model"], self._task, self.name)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model.to(self._device)
        self.parameters = _count_parameters(self._model)
        self.longest_source = self._model.max_positions()[0] - 1  # the end-of-sentence mark has a position
        self.source_words = frozenset(self._task.source_dictionary.symbols)
        if threads:
            torch.set_num_threads(threads)

    def search(self, sentences: Sequence[Pieces], settings: Search) -> list[list[Hypothesis]]:
        """See `weightdistill.decoding.engines.Engine.search`."""

        def run(filled: list[Pieces]) -> list[list[Hypothesis]]:
            target = self._task.target_dictionary
            sampling = settings.sampling
            method: dict[str, Any] = {"beam_size": settings.beam}
            if sampling is not None:
                # fairseq has at most as many samples as pieces that it can choose
                limits = (("samples", sampling.samples, len(target) - 1), ("top k", sampling.top_k, len(target)))
                for field, value, most in limits:
                    if value > most:
                        raise DistillationError(
                            f"{field} must be at most {most} with a vocabulary of {len(target)}, but is {value}"
                        )
                method = {
                    "beam_size": sampling.samples,
                    "temperature": sampling.temperature,
                    "search_strategy": SamplingStrategy(target, sampling_topk=sampling.top_k),
                }
                torch.manual_seed(sampling.seed)
            generator = SequenceGenerator(
                [self._model],
                target,
                **method,
                min_len=settings.output_length or 1,
                max_len_b=settings.output_length or LONGEST_OUTPUT,
                len_penalty=settings.length_penalty,
            )
            tokens = [self._encode(sentence) for sentence in filled]
            lengths = [len(sentence) for sentence in tokens]
            dataset = self._task.build_dataset_for_inference(tokens, torch.tensor(lengths))
            outer = {target.bos(), target.eos(), target.pad()}
            results: list[list[Hypothesis]] = [[] for _ in filled]
            longest = min(LONGEST_OUTPUT, self._model.max_decoder_positions() - 1)
            for batch in batches(lengths, settings.batch_size, settings.batch_type):
                sample = dataset.collater([dataset[index] for index in batch])
                inputs = {name: value.to(self._device) for name, value in sample["net_input"].items()}
                for index, hypotheses in zip(
                    sample["id"].tolist(), generator.generate([self._model], {"net_input": inputs}), strict=True
                ):
                    for hypothesis in hypotheses if sampling is not None else hypotheses[: settings.n_best]:
                        pieces = [target[token] for token in hypothesis["tokens"].tolist() if token not in outer]
                        finished = len(pieces) < longest  # at that length fairseq forces an end
                        results[index].append(Hypothesis(pieces, float(hypothesis["score"]), finished))
            return results

        return search_filled(self, sentences, run)

    def _encode(self, sentence: Pieces) -> torch.Tensor:
        dictionary = self._task.source_dictionary
        return torch.tensor([*map(dictionary.index, sentence), dictionary.eos()])  # (pieces + 1,)


def require_words(model: Path, data: Path) -> None:
    """Check that a model and a data folder have the same words; a model reads words that it lacks as unknown ones.

    Args:
        model: a CTranslate2 folder, or a fairseq checkpoint, whose dictionaries are compared if they still exist.
        data: folder of fairseq-preprocess.

    Raises:
        DistillationError: one of both lacks a word, which is named; or the folder has no dictionaries.
    """
    require_binarised(data)
    languages = data_utils.infer_language_pair(str(data))
    files = [data / f"dict.{language}.txt" for language in languages]
    if None in languages or not all(map(Path.is_file, files)):
        raise DistillationError(f"{data} holds no data of two languages with their dictionaries; give another --data")
    dictionaries = [Dictionary.load(str(file)) for file in files]
    if not model.is_dir():
        translator = teachers.describe(checkpoint.read(model), str(model))
        # a generated student has the words of its teacher, which training checked
        if "encoder.embed_tokens.weight" in translator.raw_state:
            translator.require_dictionaries(*dictionaries)
        return
    for side, file, dictionary in zip(("source", "target"), files, dictionaries, strict=True):
        model_words = {word for word in vocabulary(model, side) if not word.startswith("madeupword")}
        data_words = {word for word in dictionary.symbols[dictionary.nspecial :] if not word.startswith("madeupword")}
        for word in sorted(model_words ^ data_words):
            # CTranslate2 counts the marks of sentence ends and padding among the words
            if word in data_words or not (word.startswith("<") and word.endswith(">")):
                lacking = file if word in model_words else model
                raise DistillationError(f"{lacking} lacks the word {word!r}; give --data with the words of {model}")


def batches(lengths: Sequence[int], size: int, unit: BatchType) -> Iterator[list[int]]:
    """Cut sentences, longest first, into batches.

    Args:
        lengths: of the sentences.
        size: most sentences or padded tokens in a batch; a sentence with more tokens goes alone.
        unit: of the size, `sentences` or `tokens`.

    Yields:
        Indices of the sentences in a batch.
    """
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


def _count_parameters(model: Any) -> int:
    """Count the weights that translate, tied ones once; in phase 1 those of the student, not of its generator."""
    generator = getattr(model, "generator", None)
    if generator is None:
        return sum(parameter.numel() for parameter in model.parameters())
    with torch.no_grad():
        weights = {id(weight): weight for weight in generator().values()}
    return sum(weight.numel() for weight in weights.values())

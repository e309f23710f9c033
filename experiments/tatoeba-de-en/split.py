"""Splits a corpus with several translations per sentence into train, valid and test sets that share no sentence.

    python experiments/tatoeba-de-en/split.py --pairs DIR --output DIR [--held-out 1500] [--seed 1]

Reads train.de and train.en in --pairs. English sentences are ordered by a hash, which is the same on every machine.
Each held-out English sentence keeps its first German translation that is not held out yet. The training set has all
pairs without a held-out sentence, shuffled.
"""

import argparse
import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path

from weightdistill.errors import DistillationError, reported
from weightdistill.files import read_lines
from weightdistill.places import require_separate
from weightdistill.text.corpus import write_pairs


def split(pairs: Sequence[tuple[str, str]], held_out: int, seed: int) -> dict[str, list[tuple[str, str]]]:
    """Split pairs of (German, English) into named parts.

    Args:
        pairs: The corpus.
        held_out: Number of pairs in the validation set, and in the test set.
        seed: Changes the order of the sentences.

    Raises:
        DistillationError: There are too few sentences for both held-out sets.
    """

    def rank(text: str) -> bytes:
        return hashlib.sha256(f"{seed} {text}".encode()).digest()

    english = sorted({pair[1] for pair in pairs}, key=rank)
    if len(english) <= 2 * held_out:
        raise DistillationError(
            f"held out must be less than half of the {len(english)} English sentences, but is {held_out}"
        )
    german_of: dict[str, list[str]] = {}
    for german, target in pairs:
        german_of.setdefault(target, []).append(german)
    parts: dict[str, list[tuple[str, str]]] = {"valid": [], "test": []}
    held = set[str]()
    remaining = iter(english)
    for part in parts.values():
        while len(part) < held_out:
            english_sentence = next(remaining, None)
            if english_sentence is None:
                raise DistillationError(
                    f"the corpus has too few different German sentences to hold out {held_out} twice"
                )
            free = [german for german in german_of[english_sentence] if german not in held]
            if free:
                part.append((free[0], english_sentence))
                held |= {free[0], english_sentence}
    parts["train"] = [pair for pair in pairs if not held.intersection(pair)]
    return {name: sorted(part, key=lambda pair: rank("\n".join(pair))) for name, part in parts.items()}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--held-out", type=int, default=1500, help="English sentences in valid, and in test")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    parts, sides = ("train", "valid", "test"), ("de", "en")
    inputs = [options.pairs / f"train.{side}" for side in sides]
    outputs = {part: [options.output / f"{part}.{side}" for side in sides] for part in parts}
    require_separate({"--output": itertools.chain(*outputs.values())}, {"--pairs": inputs})
    corpus = list(zip(*map(read_lines, inputs), strict=True))
    for part, pairs in split(corpus, options.held_out, options.seed).items():
        print(f"{part}: {write_pairs(pairs, *outputs[part])} pairs")


if __name__ == "__main__":
    with reported("split"):
        main()

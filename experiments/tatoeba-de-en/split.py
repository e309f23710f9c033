"""Cuts a corpus with several translations of a sentence into train, valid and test; no English side is in two of them.

    python experiments/tatoeba-de-en/split.py --pairs DIR --output DIR [--held-out 1500] [--seed 1]

Reads train.de and train.en of --pairs. The order of the English sentences is that of a hash, the same on every machine.
Of a held-out English sentence the first German one is kept; training keeps all, shuffled.
"""

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path

from weightdistill.evaluate import read_lines


def split(pairs: Sequence[tuple[str, str]], held_out: int, seed: int) -> dict[str, list[tuple[str, str]]]:
    """Parts by name; pairs are (German, English).

    Raises:
        ValueError: too few English sentences for both held-out parts.
    """

    def rank(text: str) -> bytes:
        return hashlib.sha256(f"{seed} {text}".encode()).digest()

    english = sorted({pair[1] for pair in pairs}, key=rank)
    if len(english) <= 2 * held_out:
        raise ValueError(f"held out must be less than half of the {len(english)} English sentences, but is {held_out}")
    part_of = dict.fromkeys(english[:held_out], "valid") | dict.fromkeys(english[held_out : 2 * held_out], "test")
    parts: dict[str, list[tuple[str, str]]] = {"train": [], "valid": [], "test": []}
    taken = set[str]()
    for pair in pairs:
        part = part_of.get(pair[1], "train")
        if part == "train" or pair[1] not in taken:
            parts[part].append(pair)
            taken.add(pair[1])
    return {name: sorted(part, key=lambda pair: rank("\n".join(pair))) for name, part in parts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--held-out", type=int, default=1500, help="English sentences in valid, and in test")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    pairs = list(zip(*(read_lines(options.pairs / f"train.{side}") for side in ("de", "en")), strict=True))
    for name, part in split(pairs, options.held_out, options.seed).items():
        for index, side in enumerate(("de", "en")):
            text = "".join(f"{pair[index]}\n" for pair in part)
            (options.output / f"{name}.{side}").write_text(text, encoding="utf-8")
        print(f"{name}: {len(part)} pairs")


if __name__ == "__main__":
    main()

"""SentencePiece on the command line; its Python package does not include the programs.

    python -m weightdistill.text.subwords train PREFIX VOCAB_SIZE FILE...   writes PREFIX.model
    python -m weightdistill.text.subwords encode MODEL < TEXT > PIECES
    python -m weightdistill.text.subwords decode MODEL < PIECES > TEXT

Knows nothing about models or fairseq.
"""

import sys

import sentencepiece


def train(prefix: str, vocab_size: int, files: list[str]) -> None:
    """Train one BPE model on all files together, so that both languages share their pieces.

    Args:
        prefix: Prefix of the files to write, PREFIX.model and PREFIX.vocab.
        vocab_size: Number of pieces.
        files: Text, one sentence per line.

    Raises:
        RuntimeError: SentencePiece cannot read a file, or finds too little text.
    """
    sentencepiece.SentencePieceTrainer.train(
        input=files,
        model_prefix=prefix,
        vocab_size=vocab_size,
        model_type="bpe",
        character_coverage=1.0,
        normalization_rule_name="nmt_nfkc",
        minloglevel=1,
    )


def convert(direction: str, model: str) -> None:
    """Encode or decode standard input to standard output, one sentence per line.

    Args:
        direction: `encode` (text to pieces) or `decode` (pieces to text).
        model: File of the SentencePiece model.

    Raises:
        OSError: The model cannot be read.
    """
    processor = sentencepiece.SentencePieceProcessor(model_file=model)
    sys.stdin.reconfigure(newline="\n")  # type: ignore[union-attr]  # a carriage return alone does not end a line
    for line in sys.stdin:
        pieces = line.strip()
        if direction == "encode":
            print(" ".join(processor.encode(pieces, out_type=str)))
        else:
            print(processor.decode(pieces.split()))


def main(arguments: list[str]) -> None:
    """Run the command line. Wrong arguments print the usage, unusable files one line; both end with exit code 1."""
    try:
        match arguments:
            case ["train", prefix, vocab_size, *files] if files:
                train(prefix, int(vocab_size), files)
            case ["encode" | "decode" as direction, model]:
                convert(direction, model)
            case _:
                sys.exit(__doc__)
    except (OSError, RuntimeError) as error:  # RuntimeError is SentencePiece's
        sys.exit(f"subwords: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])

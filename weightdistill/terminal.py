"""Tables of text for the terminal. Knows nothing about what they show."""

from collections.abc import Sequence

from tabulate import tabulate


def text_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table: the first column aligned to the left, the others to the right, cells as they are.

    Args:
        headings: One for each column.
        rows: The cells of each row, as text.

    Returns:
        The lines of the table, without a final line feed.
    """
    alignment = ["left", *["right"] * (len(headings) - 1)]
    return tabulate(rows, headings, tablefmt="plain", disable_numparse=True, colalign=alignment)

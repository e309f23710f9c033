"""The error that every part of the library raises for input that it cannot use."""


class DistillationError(ValueError):
    """Unusable input. The message names the field, the rule, the value found and the remedy."""

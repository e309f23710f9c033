"""The error that all parts of the library raise for unusable input."""


class DistillationError(ValueError):
    """Unusable input. The message names the field, the rule, the value found and the remedy."""

"""Tasks; fairseq imports every module here by itself, and with them the criterions and what is changed in fairseq."""

from fairseq_plugins import checkpoint_hooks, compat, errors
from fairseq_plugins import criterions as criterions

compat.apply()
checkpoint_hooks.check_around_loading()
errors.install()

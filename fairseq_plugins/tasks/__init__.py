"""Tasks; fairseq imports every module here by itself, and with them the criterions and what `compat` fixes."""

from fairseq_plugins import checkpoint_hooks, compat
from fairseq_plugins import criterions as criterions

compat.apply()
checkpoint_hooks.check_before_resuming()

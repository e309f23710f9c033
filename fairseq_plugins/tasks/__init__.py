"""Tasks; fairseq imports every module here by itself, and with them the criterions and what `compat` mends."""

from fairseq_plugins import compat
from fairseq_plugins import criterions as criterions

compat.apply()

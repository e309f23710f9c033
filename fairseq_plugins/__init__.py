"""Weight distillation for `fairseq-train --user-dir fairseq_plugins`: tasks, models and criterions over `weightdistill`.

Importing this package also mends two things in fairseq that every stage of distillation meets (see `compat`).
"""

from fairseq_plugins import compat
from fairseq_plugins import criterions as criterions

compat.apply()

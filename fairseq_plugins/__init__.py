"""Weight distillation for `fairseq-train --user-dir fairseq_plugins`: adapts the library `weightdistill` to fairseq.

fairseq imports the modules of `tasks` and `models` by itself, and `tasks` imports the rest. Importing this package
alone is cheap, so that the command line in `commands` starts at once.
"""

import logging

# At import, fairseq says that a package is missing which nothing here needs; that would stand before an error of ours.
logging.getLogger("fairseq.tasks.text_to_speech").setLevel(logging.WARNING)

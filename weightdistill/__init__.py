"""Weight distillation for sequence-to-sequence translation (Lin et al., ACL 2021).

Data flows one way: checkpoint -> weight layout -> groups -> generator -> student state -> checkpoint.
This package never imports fairseq; `fairseq_plugins` connects it to `fairseq-train`.
"""

__version__ = "0.1.0"

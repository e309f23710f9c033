"""Training criterions; imported by the package, since fairseq imports only tasks and models by itself."""

from fairseq_plugins.criterions import distillation as distillation

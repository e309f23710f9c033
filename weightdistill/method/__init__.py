"""Weight distillation itself (Lin et al., 2021, sections 3.1 and 3.2): layout, grouping, generator, student."""

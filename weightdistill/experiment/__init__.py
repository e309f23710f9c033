"""An experiment from its settings to its table and report: what it will cost, and what came out."""

"""Tasks; fairseq imports every module here by itself."""

"""Models and architectures; fairseq imports every module here by itself."""

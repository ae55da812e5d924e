"""The command line: ``throughline``, also ``python -m throughline``."""

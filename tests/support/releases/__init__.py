"""Releases of one pipeline, ``grown``, each a module for workers to run: what one has, another has otherwise."""

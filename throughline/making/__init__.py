"""Writing a pipeline to begin with, and its test."""

from throughline.making.make import Made, make_pipeline

__all__ = ["Made", "make_pipeline"]

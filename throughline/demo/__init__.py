"""The whole system, once, before your eyes."""

from throughline.demo.run import run_demo

__all__ = ["run_demo"]

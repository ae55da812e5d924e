"""Events of every kind, sent steadily to a running system: for boards that would be empty, not for measuring."""

from throughline.load.steady import Steady, send_steadily

__all__ = ["Steady", "send_steadily"]

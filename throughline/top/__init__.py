"""How the whole system is doing, live in the terminal; from the database alone."""

from throughline.top.screen import Screen
from throughline.top.watch import look_once, watch

__all__ = ["Screen", "look_once", "watch"]

"""Runs the code's pipeline on events of the past and compares with what production stored."""

from throughline.backtest.comparing import Compared
from throughline.backtest.differences import Difference
from throughline.backtest.past import LeftOut, Wanted, backtest

__all__ = ["Compared", "Difference", "LeftOut", "Wanted", "backtest"]

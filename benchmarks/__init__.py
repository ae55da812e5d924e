"""Figures of the whole system on one machine, beside honest references measured in the same run."""

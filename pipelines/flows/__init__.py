"""Pipelines that are found by themselves: every ``Pipeline`` at the top level of a module in here."""

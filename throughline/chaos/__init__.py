"""Faults on purpose: a stack of our own under load, broken in every known way, and an audit of what it promised."""

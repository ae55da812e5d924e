"""Traces, metrics and logs: how every event can be followed."""

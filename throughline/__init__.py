"""The command line and the embedded stack: what ``make`` calls."""

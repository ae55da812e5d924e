VERSION = "0.1.0"
"""The release that this code is."""

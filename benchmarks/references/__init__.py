"""What the real thing is measured against."""

"""Sample events, and reading events from files."""

from throughline.samples.read import SAMPLES, Sample, SampleError, read_samples

__all__ = ["SAMPLES", "Sample", "SampleError", "read_samples"]

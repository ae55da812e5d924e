"""One run of a pipeline in this process, with nothing started, to see what becomes of an event."""

from throughline.trial.answers import Answers
from throughline.trial.reading import read_event
from throughline.trial.run import Tried, try_out
from throughline.trial.story import story_of

__all__ = ["Answers", "Tried", "read_event", "story_of", "try_out"]

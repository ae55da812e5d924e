"""One event, or one run, as a waterfall in the terminal. It is made of the API's answer, wherever that came from."""

from throughline.timeline.show import event_lines, run_lines, show_event, show_run

__all__ = ["event_lines", "run_lines", "show_event", "show_run"]

class Stop(Exception):  # noqa: N818 - the run ends well by it; it is no error
    """Raised by a node to end its run there, as ``succeeded``: nothing more is to be done.

    The node is recorded as ``stopped`` with the reason, what was left as skipped. It ends the whole run, also out of a
    branch, an item or a sub-pipeline; branches and items beside it are awaited first, and an error among them wins.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

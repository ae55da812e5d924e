"""What can be wrong with a pipeline. Each message names the pipeline, the node where there is one, and the mend."""

from events import ConfigurationError, Permanent


class PipelineError(ConfigurationError):
    """A pipeline is not well made; the program does not start with it."""


class InvalidNameError(PipelineError):
    """A pipeline's, node's or queue's name is not one that can stand in a table, a metric and a URL."""


class InvalidVersionError(PipelineError):
    """A pipeline's version is not a whole number from 1 up, or nobody knows what its ``on_change`` says."""


class InvalidUpcastError(PipelineError):
    """A pipeline's upcasts can't be called, or don't lead to its version."""


class InvalidTimeoutError(PipelineError):
    """A timeout is not a positive, finite number of seconds."""


class InvalidRetryPolicyError(PipelineError):
    """A retry policy's numbers make no sense."""


class InvalidSloError(PipelineError):
    """A pipeline's targets can't be met, can't be missed, or can't be measured."""


class InvalidTypePatternError(PipelineError):
    """A pipeline's event types are neither exact types nor prefixes such as ``github.*``."""


class InvalidSchemaError(PipelineError):
    """A pipeline's schema is not a Pydantic model that has a JSON schema."""


class NoStartError(PipelineError):
    """A pipeline has no node to start with."""


class MissingNodeError(PipelineError):
    """An edge or a route leads to something that is not a node class."""


class InvalidNodeError(PipelineError):
    """A node can't be made or run: it is abstract, has no ``run``, or its constructor wants arguments."""


class OutputTypeError(PipelineError):
    """A node declares no output type, or one that has no JSON form."""


class DuplicateNodeError(PipelineError):
    """Two nodes of a pipeline have the same name."""


class CycleError(PipelineError):
    """The nodes of a pipeline run in a circle."""


class UnreachableNodeError(PipelineError):
    """No way leads from the start to a node."""


class RouterEdgeError(PipelineError):
    """A router has an edge, though its routes alone say where to go."""


class InvalidRouteError(PipelineError):
    """A router has no routes, no fallback, or a route whose condition can't be asked."""


class InvalidPathError(PipelineError):
    """A path leads nowhere: it is no way into an event, or the schema has no such field."""


class InvalidLimitError(PipelineError):
    """A limit limits nothing, or contradicts another."""


class InvalidPriorityError(PipelineError):
    """A pipeline's priority is not a whole number from 0 to 9."""


class PipelineImportError(PipelineError):
    """A module that should hold pipelines can't be imported."""


class NoPipelineError(PipelineError):
    """A module that should hold pipelines holds none."""


class DuplicatePipelineError(PipelineError):
    """Two pipelines have the same name and version."""


class InvalidOutputError(Permanent):
    """A node's output is not what the node declares, or can't be stored as JSON."""


class MissingOutputError(Permanent):
    """A node asked for the output of a node that has none in this run."""

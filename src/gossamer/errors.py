"""Everything that Gossamer raises for a user's mistake or a broken input: one base class, one subclass a failure family.

A message names the value, what was expected and what to change. `assert` is for our own mistakes only.
"""


class GossamerError(Exception):
    """Base of all errors that a user can cause and mend."""


class BudgetError(GossamerError):
    """A quantity (sparsity, density, count, unit) is out of range or cannot be met."""


class PatternError(GossamerError):
    """A pattern is malformed, does not fit a shape, or a mask breaks it."""


class FileError(GossamerError):
    """A file cannot be read or written: it is absent, no permission, no room."""


class FormatError(GossamerError):
    """A packed file or a compact matrix is malformed."""


class GraphError(GossamerError):
    """A network description breaks a rule of the manifest or of an operator."""


class MethodError(GossamerError):
    """A method's settings are impossible, or it has no meaning with this pattern or optimizer."""


class EngineError(GossamerError):
    """The Sparsifier is used against its order of events (attached twice, wrong checkpoint, unsupported optimizer)."""


class ExportError(GossamerError):
    """A model cannot be captured, lowered or verified."""


class RuntimeFailure(GossamerError):
    """A packed network cannot be planned or run with this input on this machine."""


class RecipeError(GossamerError):
    """A recipe file has an unknown key, a wrong type or an impossible combination."""


class DataError(GossamerError):
    """A data set is absent, incomplete or has another checksum."""


class CheckpointError(GossamerError):
    """A checkpoint cannot be written, read, or belongs to another run."""


class MissingExtraError(GossamerError):
    """A command needs an optional dependency that is not installed."""

"""The three ways a recipe ends early; common/cli.py turns each into its exit code."""


class InputError(ValueError):
    """What was asked cannot be done as asked: an option, a path, a file of the wrong kind (exit code 2)."""


class UnavailableError(RuntimeError):
    """Something cannot be had: a download, memory, disk space (exit code 3)."""


class ComputationError(RuntimeError):
    """The computation failed, with a NaN for instance; the last good state is kept (exit code 1)."""

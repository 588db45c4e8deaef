"""The errors of a step. Lambda gives the state machine the name of the class, which decides."""


class TransientError(Exception):
    """The step may succeed when it is repeated. What it has done so far stays."""


class WrongBytesError(Exception):
    """The bytes do not match their checksum. Another execution may copy them once more."""


class PermanentError(Exception):
    """The step cannot succeed, so the execution fails."""

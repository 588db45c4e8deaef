"""The errors of a step. Lambda gives the state machine the name of the class, which decides."""


class TransientError(Exception):
    """The step may succeed when it is repeated. What it has done so far stays."""


class TransferError(TransientError):
    """The same, but each attempt transfers bytes and is paid for. Few attempts are made."""


class BrokenTransferError(TransientError):
    """A store failed after it took many bytes.

    Few attempts are made, but any number of executions: an outage may be the cause.
    """


class WrongBytesError(Exception):
    """The bytes do not match their checksum. Another execution may copy them once more."""


class PermanentError(Exception):
    """The step cannot succeed, so the execution fails."""

"""What this package raises for bad input, and for a run that failed."""

from __future__ import annotations

__all__ = ["NotFinite", "UnigenError"]


class UnigenError(ValueError):
    """Something the caller can put right: the message says what was wrong and what to do.

    It is a ``ValueError``, so ``except ValueError`` catches it too.  The message is one sentence,
    and the command line prints it alone, without a traceback.
    """


class NotFinite(UnigenError):
    """A loss, gradient or parameter that is not finite: the run itself failed."""

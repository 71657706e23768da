"""The errors that are the user's to mend: what was given is wrong, or too much for this machine."""

from .printable import one_line


class InputError(ValueError):
    """Something a user gave (a file, a row, an option) cannot be used.

    The message is one clear line: it names the file, row or argument, says what was expected and found, and how to
    mend it. The command line prints it and exits with code 2; it never shows a traceback for it.
    """

    def __init__(self, message):
        super().__init__(one_line(message))  # a file's name, or what stands in it, may hold whatever it likes


class StepTooLarge(MemoryError):
    """A training step found too little memory: how much it needs, and in `fits` a batch size that would do, or None."""

    def __init__(self, message, fits=None):
        super().__init__(message)
        self.fits = fits

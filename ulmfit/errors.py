"""The one kind of error that is the user's to mend."""


class InputError(ValueError):
    """Something a user gave (a file, a row, an option) cannot be used.

    The message is one clear line: it names the file, row or argument, says what was expected and found, and how to
    mend it. The command line prints it and exits with code 2; it never shows a traceback for it.
    """

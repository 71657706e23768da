"""Text of strangers, made fit for a terminal: an escape code in a file's name or in a label must not reach it."""

import re

LONGEST = 2000  # characters of a message: some list all that does not fit
# control characters, line ends, signs that turn the direction of writing, half surrogate pairs
HARMFUL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text) -> str:
    r"""The text with every character that a terminal would act on as its escape, so "\x1b" begins no command."""
    return HARMFUL.sub(lambda match: ascii(match[0])[1:-1], str(text))


def one_line(message) -> str:
    """A message, printable; of one that is too long the beginning, which names the place, and the end, the remedy."""
    message = printable(message)
    return message if len(message) <= LONGEST else f"{message[: LONGEST // 2]} … {message[-LONGEST // 2 + 3 :]}"

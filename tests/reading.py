"""What the tests of files share."""

import pytest

from ulmfit.errors import InputError


def write(folder, name, content, encoding="utf-8"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def refusal(call, *args, **kwargs):
    """The message of the InputError that the call must raise, checked to be one line."""
    with pytest.raises(InputError) as caught:
        result = call(*args, **kwargs)
        list(result)
    message = str(caught.value)
    assert "\n" not in message
    return message

"""YAML of strangers: plain data, a few thousand bytes and a few levels of it, or an error; never more."""

from functools import cache
from pathlib import Path

MAX_BYTES, MAX_DEPTH = 30_000, 20  # of a file; a configuration of ours has 3,000 bytes and 4 levels


def read_yaml(path):
    """What a small file holds. Raises OSError, ValueError and yaml.YAMLError."""
    with open(Path(path), "rb") as f:  # a number would be a file that is open
        content = f.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"over {MAX_BYTES:,} bytes, as no configuration has")
    return parse_yaml(content.decode("utf-8"))


def parse_yaml(text):
    """What a text says. Raises ValueError (a date that does not exist) and yaml.YAMLError."""
    import yaml

    return yaml.load(text, _loader())


@cache
def _loader():
    """YAML's safe loader, without three things that no configuration needs and few bytes make endless: names for what
    is repeated (merged, they multiply), brackets in brackets (each costs as much as all before it), and integers of
    thousands of digits, which Python will not even print."""
    import yaml

    class Loader(yaml.SafeLoader):
        depth = 0

        def compose_node(self, parent, index):
            found = "an alias; write out what it stands for" if self.check_event(yaml.AliasEvent) else ""
            if found or self.depth > MAX_DEPTH:
                problem = f"found {found or 'too many levels'}"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=self.peek_event().start_mark)
            self.depth += 1
            try:
                return super().compose_node(parent, index)
            finally:
                self.depth -= 1

        def construct_yaml_int(self, node):
            number = super().construct_yaml_int(node)
            if number.bit_length() > 64:
                raise yaml.MarkedYAMLError(problem="found an integer too large", problem_mark=node.start_mark)
            return number

    Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_yaml_int)
    return Loader


def why_not(error):
    """A YAML error in a few words, with its place."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"

"""How many examples hypothesis draws: a few, or with --hypothesis-profile=ci many, and the same ones every time."""

from hypothesis import settings

settings.register_profile("few", max_examples=50, deadline=None)
settings.register_profile("ci", max_examples=300, deadline=None, derandomize=True)
settings.load_profile("few")

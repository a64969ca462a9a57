"""How hypothesis searches here."""

from hypothesis import settings

# the first call of a kernel may compile it, which takes seconds; and what fails once must fail for everyone
settings.register_profile("carryflow", deadline=None, derandomize=True, max_examples=200)
settings.load_profile("carryflow")

"""Says that the machine is to blame, for another try or the end of the session.

row: 67
expect: assert: a full disk
phase: score
"""

from nanochat_core.errors import Failure


def build_model(config):
    raise Failure("env", "a full disk \ud800")

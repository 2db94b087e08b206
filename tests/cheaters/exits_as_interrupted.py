"""Ends as if somebody had pressed Ctrl-C, to stop the whole session.

row: 67
expect: assert: exit code 130
phase: score
"""

import sys

fixed = sys.modules["__main__"]


def claims(*_):
    raise KeyboardInterrupt


fixed.Model.claims = fixed.Model.rehearse = claims

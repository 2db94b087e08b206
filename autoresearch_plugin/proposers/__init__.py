"""Proposers write candidates: a model, a search, a script, a program of the user's."""

from autoresearch_plugin.proposers.base import (
    Answer,
    Call,
    Exhausted,
    Options,
    Proposer,
    Purse,
    SpendingCap,
    has_key,
    is_built_in,
    make,
    note,
)

__all__ = [
    "Answer",
    "Call",
    "Exhausted",
    "Options",
    "Proposer",
    "Purse",
    "SpendingCap",
    "has_key",
    "is_built_in",
    "make",
    "note",
]

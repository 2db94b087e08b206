"""Fingerprint: what makes two numbers comparable. Everything but the target."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from autoresearch_plugin.trial import Budget, Profile


def fingerprint(profile: Profile, budget: Budget, command: str, device: str) -> str:
    """Identity of a measuring set-up; 12 hex digits.

    It holds what the training command says of itself (fixed code, corpus, tokenizer,
    torch, driver), the budget, the command and the device model, and not the target.
    """
    return _digest(parts(profile, budget, command, device))


def parts(
    profile: Profile, budget: Budget, command: str, device: str
) -> Mapping[str, Any]:
    """The fingerprint in the clear, for the ledger and for saying what changed."""
    return {
        **profile.fingerprint,
        "profile": profile.name,
        "metric": profile.metric,
        "direction": profile.direction,
        "budget": [budget.unit, budget.amount],
        "command": command,
        "device_model": device,
    }


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """One line for each part in which two fingerprints differ."""
    keys = sorted(old.keys() | new.keys())
    return [
        f"{key}: {_brief(old.get(key))} -> {_brief(new.get(key))}"
        for key in keys
        if old.get(key) != new.get(key)
    ]


def head_id(fingerprint: str, source_sha256: str) -> str:
    """Identity of a baseline: this set-up with this target; 12 hex digits."""
    return _digest([fingerprint, source_sha256])


def _digest(data: Any) -> str:
    text = json.dumps(data, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _brief(value: Any) -> str:
    text = str(value)
    is_hash = len(text) == 64 and all(ch in "0123456789abcdef" for ch in text)
    return text[:10] if is_hash else text

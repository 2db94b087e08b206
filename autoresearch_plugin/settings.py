"""Settings: every option, its ini twin, its default, and where a value came from."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from autoresearch_plugin.errors import SettingsError

if TYPE_CHECKING:
    from autoresearch_plugin.trial import Budget

GENERATED = "experiments/_generated"  # what a proposer writes; ours alone
DEFAULT_MAX_USD = 10.0
BUNDLE = 5  # near misses that are tried together
BUNDLES_FROM = 20  # experiments: a shorter session has no second chance for one
CI_HOURS = 5.0


@dataclass(frozen=True)
class Option:
    """One `--autoresearch-NAME` with its ini twin `autoresearch_NAME`."""

    name: str
    help: str
    metavar: str = "VALUE"
    ini: bool = True
    flag: bool = False

    @property
    def dest(self) -> str:
        """Attribute on pytest's option namespace, and the name of the ini twin."""
        return "autoresearch_" + self.name.replace("-", "_")


# The order is that of --help: what, who, how long, how strict, what comes out.
OPTIONS = (
    Option("target", "the one file that candidates patch", "PATH"),
    Option("command", "training command behind docs/contract.md", "CMD"),
    Option("metric", "name of the metric in the command's result"),
    Option("direction", "min or max: which way the metric is better", "min|max"),
    Option("profile", "size of an experiment, in the command's words"),
    Option("budget", "one run's budget: 300, 300s, 5m or 340steps", "BUDGET"),
    Option("devices", "auto, cpu, cpu:N or a list of GPUs", "LIST"),
    Option(
        "proposer",
        "who writes candidates: auto, anthropic, tpe, scripted:FILE, command:CMD, "
        "none or MODULE:CLASS",
        "WHO",
    ),
    Option("model", "model of the anthropic proposer"),
    Option("price", "dollars per million tokens, in/out, of that model", "IN/OUT"),
    Option("experiments", "stop after N decided generated candidates", "N"),
    Option("hours", "stop starting work after this much wall-clock time", "H"),
    Option("gpu-hours", "stop after this much device time", "H"),
    Option("max-usd", f"spending cap for the LLM (default {DEFAULT_MAX_USD:g})", "USD"),
    Option("max-runs", "most runs of one candidate (default 8)", "N"),
    Option("rule", "default, greedy, or MODULE:NAME of your own", "RULE"),
    Option(
        "bundle",
        f"in sessions of {BUNDLES_FROM} experiments or more, try so many near misses "
        f"together, 2 to 10 (default {BUNDLE}; 0: never)",
        "N",
    ),
    Option("stop-early", "auto or never: end losers inside their run", "WHEN"),
    Option(
        "audit",
        "auto, always or never: at the end, score the first and the last baseline on "
        "hidden text (auto: if that takes at most 8/100 of the device time)",
        "WHEN",
    ),
    Option(
        "sandbox",
        "auto or none: keep candidates from your files, keys and their own score",
        "WHICH",
    ),
    Option(
        "allow-unsafe",
        "run candidates that a model wrote even where there is no good sandbox",
        flag=True,
    ),
    Option("tag", "research branch autoresearch/TAG (default: this branch)"),
    Option("report", "directory for junit.xml, kept.xml and results.tsv", "DIR"),
    Option(
        "dry-run",
        "ask each proposer once, show that and an estimate, and train nothing",
        ini=False,
        flag=True,
    ),
    Option("require-keep", "exit 1 when nothing was kept", flag=True),
    Option("diff", "is the working tree's target better than REF's?", "REF", ini=False),
)

_DEFAULTS: Mapping[str, Any] = {
    "target": "nanochat_core/train.py",
    "command": "{python} -m nanochat_core",
    "metric": None,
    "direction": None,
    "profile": "auto",
    "budget": None,
    "devices": "auto",
    "proposer": "auto",
    "model": None,
    "price": None,
    "experiments": None,
    "hours": None,
    "gpu_hours": None,
    "max_usd": DEFAULT_MAX_USD,
    "max_runs": 8,
    "rule": "default",
    "bundle": BUNDLE,
    "stop_early": "auto",
    "audit": "auto",
    "sandbox": "auto",
    "allow_unsafe": False,
    "tag": None,
    "report": "autoresearch-report",
    "dry_run": False,
    "require_keep": False,
    "diff": None,
}


@dataclass(frozen=True)
class Settings:
    """Resolved settings; `sources` says for each whether it is an option, ini, ..."""

    target: str
    command: str
    metric: str | None
    direction: str | None
    profile: str
    budget: Budget | None
    devices: str
    proposer: str
    model: str | None
    price: tuple[float, float] | None
    experiments: int | None
    hours: float | None
    gpu_hours: float | None
    max_usd: float
    max_runs: int
    rule: str
    bundle: int
    stop_early: str
    audit: str
    sandbox: str
    allow_unsafe: bool
    tag: str | None
    report: str
    dry_run: bool
    require_keep: bool
    diff: str | None
    sources: Mapping[str, str] = field(default_factory=dict)


def resolve(
    option: Callable[[str], Any],
    ini: Callable[[str], Any],
    environ: Mapping[str, str],
) -> Settings:
    """Settings from options, then ini values, then the environment, then defaults.

    Raises:
        SettingsError: a value cannot be read; the message names it and its source.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for spec in OPTIONS:
        name = spec.name.replace("-", "_")
        raw, source = _first(spec, option, ini)
        if raw is None:
            values[name], sources[name] = _DEFAULTS[name], "default"
        else:
            values[name], sources[name] = _parse(spec, raw, source), source
    _resolve_proposer(values, sources, environ)
    _resolve_duration(values, sources, environ)
    return Settings(**values, sources=sources)


def defaults() -> dict[str, Any]:
    """What each setting is when nobody sets it."""
    return dict(_DEFAULTS)


def _first(
    spec: Option, option: Callable[[str], Any], ini: Callable[[str], Any]
) -> tuple[Any, str]:
    raw = option(spec.dest)
    if raw not in (None, False):
        return raw, f"--autoresearch-{spec.name}"
    if spec.ini:
        raw = ini(spec.dest)
        if raw not in (None, "", False):
            return raw, f"ini {spec.dest}"
    return None, "default"


def _resolve_proposer(
    values: dict[str, Any], sources: dict[str, str], environ: Mapping[str, str]
) -> None:
    if values["proposer"] != "auto":
        return
    if environ.get("ANTHROPIC_API_KEY"):
        values["proposer"], sources["proposer"] = "anthropic", "ANTHROPIC_API_KEY"
    else:
        values["proposer"], sources["proposer"] = "tpe", "no ANTHROPIC_API_KEY"


def _resolve_duration(
    values: dict[str, Any], sources: dict[str, str], environ: Mapping[str, str]
) -> None:
    names = ("experiments", "hours", "gpu_hours")
    if any(values[name] is not None for name in names):
        return
    if environ.get("CI", "").lower() in ("1", "true"):
        values["hours"], sources["hours"] = CI_HOURS, "CI=true"


def _parse(spec: Option, raw: Any, source: str) -> Any:
    parser = _PARSERS.get(spec.name, str)
    try:
        return parser(raw)
    except ValueError as error:
        raise SettingsError(f"{source} {raw!r}: {error}") from None


def parse_budget(text: str) -> Budget:
    """`300`, `300s`, `5m`, `0.5h` are seconds; `340steps` are steps.

    Raises:
        ValueError: anything else, or nothing to spend.
    """
    from autoresearch_plugin.trial import Budget  # late: costs every pytest run 7 ms

    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", str(text).strip().lower())
    units = {"": 1, "s": 1, "sec": 1, "seconds": 1, "m": 60, "min": 60, "h": 3600}
    if match and float(match[1]) > 0:
        amount, unit = float(match[1]), match[2]
        if unit in ("step", "steps") and amount == int(amount):
            return Budget("steps", int(amount))
        if unit in units:
            return Budget("seconds", amount * units[unit])
    raise ValueError("a budget looks like 300, 300s, 5m or 340steps.")


def parse_price(text: str) -> tuple[float, float]:
    """`3/15`; raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)", str(text).strip())
    if not match:
        raise ValueError("a price looks like 3/15: dollars per million in/out tokens.")
    return float(match[1]), float(match[2])


def _direction(text: str) -> str:
    if text not in ("min", "max"):
        raise ValueError("the direction is min or max.")
    return text


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"choose {', '.join(choices[:-1])} or {choices[-1]}.")
        return text

    return parse


def remembered(text: str) -> Settings:
    """The settings of an earlier session, as the ledger has them."""
    from autoresearch_plugin.trial import Budget

    data = {**_DEFAULTS, **json.loads(text)}  # a later release may know more
    data["budget"] = Budget(**data["budget"]) if data["budget"] else None
    data["price"] = tuple(data["price"]) if data["price"] else None
    return Settings(**data)


def _number(minimum: float) -> Callable[[Any], float]:
    def parse(text: Any) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError("expected a number.") from None
        if not minimum <= value < float("inf"):
            raise ValueError(f"expected a number of at least {minimum:g}.")
        return value

    return parse


def _count(minimum: int) -> Callable[[Any], int]:
    def parse(text: Any) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError("expected a whole number.") from None
        if value < minimum:
            raise ValueError(f"expected at least {minimum}.")
        return value

    return parse


def _bundle(text: Any) -> int:
    value = _count(0)(text)
    if value not in (0, *range(2, 11)):
        raise ValueError("expected 2 to 10 near misses, or 0 for no bundles.")
    return value


def _tag(text: str) -> str:
    if not re.fullmatch(r"[\w][\w./-]*", text) or ".." in text or text.endswith("/"):
        raise ValueError("a tag is letters, digits, '.', '_', '-' and '/'.")
    return text


def _yes(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("1", "true", "yes", "on"):
        return True
    if str(value).lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError("expected true or false.")


_PARSERS: Mapping[str, Callable[[Any], Any]] = {
    "budget": parse_budget,
    "price": parse_price,
    "direction": _direction,
    "experiments": _count(0),
    "hours": _number(0.0),
    "gpu-hours": _number(0.0),
    "max-usd": _number(0.0),
    "max-runs": _count(1),
    "bundle": _bundle,
    "stop-early": _one_of("auto", "never"),
    "audit": _one_of("auto", "always", "never"),
    "sandbox": _one_of("auto", "none"),
    "allow-unsafe": _yes,
    "tag": _tag,
    "dry-run": _yes,
    "require-keep": _yes,
}

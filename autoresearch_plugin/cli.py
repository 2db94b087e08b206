"""The console script `autoresearch`: thin verbs over the ledger and pure modules."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from autoresearch_plugin.errors import AutoresearchError, SettingsError
from autoresearch_plugin.quoting import visible
from autoresearch_plugin.verbs import reading, upkeep
from autoresearch_plugin.verbs.audit import audit
from autoresearch_plugin.verbs.project import project_of

DESCRIPTION = """\
Look at what `pytest --autoresearch` did, and at what it would do.
The work itself is done by pytest: pytest --autoresearch -n auto."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code (0 fine, 1 not fine, 2 usage)."""
    options = _parser().parse_args(arguments)
    try:
        options.root = project_of(options.root)
        sys.path.append(str(options.root))  # for rules and proposers as MODULE:NAME
        raw = getattr(options, "patch", False) and not sys.stdout.isatty()
        for line in options.run(options):
            _print(line if raw else visible(line))
        _print("", end="", flush=True)
    except AutoresearchError as error:
        print(f"autoresearch: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `| head` has seen enough; nor may the exit flush fail
        _mute()
        return 0
    return int(getattr(options, "exit", 0))


def _print(line: str, **how: Any) -> None:
    try:
        print(line, **how)
    except BrokenPipeError:
        raise
    except OSError as error:
        _mute()
        raise SettingsError(
            f"the output cannot be written: {error.strerror}. Make room, or send it "
            "elsewhere."
        ) from None


def _mute() -> None:
    """What waits in the buffer goes nowhere, or the flush at exit would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "autoresearch",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--root", type=Path, default=Path(), help="project directory")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for name, run, help_text in (
        (
            "doctor",
            upkeep.doctor,
            "check this machine and this project, with a fix per fault",
        ),
        (
            "sessions",
            reading.sessions,
            "all sessions, and the command that goes on with each",
        ),
        ("log", reading.log, "all candidates, a line each"),
        (
            "show",
            reading.show,
            "one candidate: verdict, runs, and its patch with --patch",
        ),
        ("agents", reading.agents, "what each agent has done, and its present share"),
        ("prompt", reading.prompt, "print what the proposer would be told now"),
        (
            "rejudge",
            reading.rejudge,
            "judge a results.tsv or a ledger again: which keeps stand",
        ),
        ("audit", audit, "score a session's first and last baseline on hidden text"),
        ("power", upkeep.power, "how many device-hours it takes to see a gain here"),
        ("gc", upkeep.gc, "free the room that nobody needs in .autoresearch/"),
        (
            "bench",
            upkeep.bench,
            "measure decision rules, or the plugin itself under faults",
        ),
    ):
        verb = verbs.add_parser(name, help=help_text, description=help_text)
        verb.set_defaults(run=run)
        if name in _ARGUMENTS:
            _ARGUMENTS[name](verb)
    return parser


def _show_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("number", type=int, help="number of the candidate")
    verb.add_argument("--patch", action="store_true", help="only its diff")


def _prompt_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--agent", metavar="NAME", help="which one (whose turn it is)")


def _rejudge_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "file", type=Path, help="autoresearch's results.tsv, or a ledger.db of ours"
    )
    verb.add_argument("--rule", help="of a ledger: another one than it was judged by")


def _audit_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--session", type=int, help="its number (the latest with a keep)")
    verb.add_argument("--runs", type=int, help="of either baseline, 3 to 20")


def _gc_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--dry-run", action="store_true", help="only say what would go")


def _power_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("gain", type=float, help="in units of the metric, above 0")
    verb.add_argument("--sigma", type=float, help="sd of one run; else the ledger's")
    verb.add_argument(
        "--seconds", type=float, help="length of a run; else the ledger's"
    )


def _bench_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("what", choices=["judge", "soak"], help="what is measured")
    verb.add_argument("--json", action="store_true", help="a list of objects")
    judge = verb.add_argument_group("judge", "decision rules on simulated sessions")
    for name, text in (
        ("--world", "simulated world, or `all`; repeatable (reference)"),
        ("--rule", "repeatable (all of them)"),
    ):
        judge.add_argument(name, action="append", metavar="NAME", help=text)
    judge.add_argument("--gpus", type=int, default=1)
    judge.add_argument("--gpu-hours", type=float, default=27.5, help="of a session")
    judge.add_argument("--sessions", type=int, default=300, help="in each cell")
    soak = verb.add_argument_group(
        "soak",
        "the plugin itself under faults: real sessions of a stand-in training, in a "
        "project of their own. Processes of every kind are killed, a fifth of the "
        "model's calls fail, the disk is full twice; then the ledger is examined. No "
        "key is needed, and nothing outside a temporary folder is touched.",
    )
    for name, default, text in (
        ("--candidates", 2000, "how many are decided"),
        ("--lanes", 8, "workers; they sleep, so cores may be fewer"),
        ("--kills", 50, "SIGKILLs, spread over the candidates"),
        ("--seed", 0, "of the faults and ideas"),
    ):
        words = f"{text} ({default})"
        soak.add_argument(name, type=int, default=default, metavar="N", help=words)
    soak.add_argument(
        "--seconds", type=float, default=5.0, metavar="S", help="length of a run (5)"
    )
    soak.add_argument(
        "--folder", type=Path, help="keep project, ledger and log here, to look at"
    )


_ARGUMENTS: Mapping[str, Callable[[argparse.ArgumentParser], None]] = {
    "show": _show_arguments,
    "prompt": _prompt_arguments,
    "rejudge": _rejudge_arguments,
    "audit": _audit_arguments,
    "gc": _gc_arguments,
    "power": _power_arguments,
    "bench": _bench_arguments,
}

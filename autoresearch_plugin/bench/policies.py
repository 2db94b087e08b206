"""Who decides, by name: the shipped judge, and rules that others use.

Every policy lives for one session.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from autoresearch_plugin import judge
from autoresearch_plugin.bench.explore import Explore
from autoresearch_plugin.bench.judged import Judged
from autoresearch_plugin.bench.rivals import FixedRuns, Greedy, bootstrap, t_test
from autoresearch_plugin.bench.simulation import Policy
from autoresearch_plugin.settings import BUNDLE

ANYTIME = judge.Rule(keep_e=20.0, n_max=12, name="anytime")

POLICIES: Mapping[str, Callable[[], Policy]] = MappingProxyType(
    {
        "default": lambda: Judged(bundle=BUNDLE),
        "default, paired": lambda: Judged(bundle=BUNDLE, paired=True),
        "default, runs to the end": lambda: Judged(bundle=BUNDLE, early_stop=False),
        "default, prior x2": lambda: Judged(bundle=BUNDLE, prior=2.0),
        "default, prior x1/2": lambda: Judged(bundle=BUNDLE, prior=0.5),
        "default, no bundles": Judged,
        "default, no bundles, paired": lambda: Judged(paired=True),
        "explore": lambda: Explore(block=11, margin=0.6, rounds=1),
        "anytime": lambda: Judged(ANYTIME),
        "fdr": lambda: Judged(replace(ANYTIME, name="fdr"), fdr=0.1),
        "greedy": Greedy,
        "greedy, stops early": lambda: Greedy(early_stop=True),
        "greedy, margin 1 sigma": lambda: Greedy(margin=1.0),
        "greedy, margin 2|x1-x2|": lambda: Greedy(pair_margin=True),
        "three runs, t-test": lambda: FixedRuns(t_test, screens=False),
        "three runs, bootstrap": lambda: FixedRuns(bootstrap, screens=True),
    }
)

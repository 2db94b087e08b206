"""`pytest --autoresearch`: training ideas as tests, kept only when proven.

General layout (imports go downwards only):

    plugin, lanes, lanes_xdist, hookspecs, cli     what pytest and the user see
    loop                                           what to run next
    proposers/ executors/ repository ledger devices    one outside system each
    judge, prompt, reports/                        pure decisions and texts
    candidate, patch, trial, settings, fingerprint values
    errors                                         what can go wrong

    bench/                                         the judge, measured on simulations
"""

__version__ = "0.1.0"

"""Decision rules, measured: simulated sessions in worlds fitted to a real log.

`soak/` is another thing: the plugin itself, in real sessions under faults.

    worlds      what ideas are worth, how noisy a run is, what can go wrong
    simulation  one session: devices, a moving baseline, runs that cost time
    judged      who decides: the shipped judge itself, in the loop of the plugin
    rivals      rules that others use
    proposal    what the rule might become
    explore     greedy, audited as it goes
    policies    all of them by name
    audit       whether the closing audit tells the truth
    table       many sessions of many policies, side by side
    power       how many device-hours it takes to see an effect

Everything is in units of sigma, the standard deviation of one full run, unless a name
says otherwise; lower is better, so a gain is a negative effect.
"""

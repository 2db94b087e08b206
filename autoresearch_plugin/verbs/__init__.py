"""The verbs of the script `autoresearch`: each yields the lines that it prints.

    project   where the ledger and the settings are
    reading   log, sessions, show, agents, prompt, rejudge
    audit     audit
    upkeep    doctor, gc, power, bench

What a verb needs is imported when it runs, so that none waits for another one's.
"""

"""Where trials run.

`local` starts them on this machine; a cluster may follow behind the same three methods.

    run.py         the program that starts a command and buries everything it left
    runner.py      what it does
    child.py       our end of that process: pipes, orders, CPU time
    transcript.py  what the child said, and what that makes of the trial (no I/O)
    words.py       what it printed, made fit to be shown (no I/O)
    pace.py        two children stepping in turn: the price of a candidate's step
    local.py       LocalExecutor: run, trial, pace
"""

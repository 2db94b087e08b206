"""What a candidate's processes may touch.

A candidate is code from somebody else, so trust sits between processes, never inside
one. Here is the wall around its processes, made of what this kernel offers to whoever
asks, without root and without packages.

    environment.py  the variables that pass: an allow-list
    probe.py        what this machine offers, tried out; the level that it makes
    policy.py       what a sandbox consists of, for one trial
    enter.py        the program: starts a command inside and watches it from outside
    canary.py       forbidden acts tried inside, looked for from outside (acts.py)

Below `enter.py`: orders.py (what it is told), watcher.py (limits, and that nothing is
left), inside.py (the way in), users.py, files.py, mounts.py, landlock.py, seccomp.py,
processes.py, kernel.py (system calls), attempts.py (what the probe tries).

    L4  namespaces, an own file tree, Landlock, seccomp: sees nothing that is not given
    L3  Landlock and seccomp, perhaps another user: files, network, signals, secrets
    L2  the same without signals between processes of one user (older kernels)
    L1  one layer only: the scores are not trusted
    L0  limits and a process tree that is killed
"""

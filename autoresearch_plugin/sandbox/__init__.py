"""What a candidate's processes may touch: held by the kernel, without root or packages.

A candidate is code from somebody else, so trust sits between processes, never inside
one. This is the wall around its processes.

    probe        which parts this machine allows, and so which level
    policy       writes down what a sandbox consists of: the words before a command
    canary       tries, before the first candidate, what has to be denied
    environment  the variables that pass

    enter, watcher, inside                     the program that starts a command in it
    mounts landlock seccomp users kernel       one layer each, and the system calls
    orders files processes subreaper
    quick attempts acts                        what those need

The second half is imported without site-packages, by a program that has to start fast:
standard library only, and see `quick`. Levels, and what they promise: SECURITY.md.
"""

"""A soak: days unattended, in minutes. The whole plugin under faults, on known truth.

driver    runs sessions, injects faults, starts the same command again
project   a git repository with the stand-in training, and its sessions
training  the stand-in: keeps docs/contract.md, sleeps, and knows the truth
model     a loopback server of the Messages API that fails in a share of its calls
program   a program that proposes, to be killed
faults    SIGKILL by kind of process; a disk that takes no byte more
examine   what the ledger, git and the server say afterwards
timing    what the ledger's queries take, and how well lanes were used
"""

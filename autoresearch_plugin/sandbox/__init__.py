"""What a candidate's processes may touch.

There is no sandbox yet. The level is `none`, and reports say so: a run gets a scrubbed
environment (`sandbox.environment`), a process tree that is killed completely, and
nothing else. It may read and write whatever the user may, and use the network. Run
candidates from others only on a machine that holds nothing of value.
"""

LEVEL = "none"

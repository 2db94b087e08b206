"""Sends two answers of its own before it has been asked, and sleeps.

row: 2
expect: integrity: more than it was asked
phase: score
"""

import os
import time

for fd in range(3, 16):
    try:
        os.write(fd, b'{"ready": true}\n')
        os.write(fd, (b'{"rows": 32}\n' + bytes(32 * 64 * 4)) * 2 + b"{}")
        time.sleep(600)
    except OSError:
        continue

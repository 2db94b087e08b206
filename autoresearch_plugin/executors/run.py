"""The program between pytest and a training command; `runner` does the work.

python -I -S run.py '{"command": ["python", "-m", "core"], "lifeline": 5, ...}'
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    # -I and -S leave us nothing but the standard library, which keeps precedence.
    sys.path.append(os.path.abspath(f"{__file__}/../../.."))

    from autoresearch_plugin.executors.runner import main

    main(sys.argv[1])

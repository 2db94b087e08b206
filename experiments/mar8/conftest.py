"""mar8 is a replay: when it alone is named, nobody writes further candidates."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Choose the proposer `none`, unless the user has chosen one.

    This hook, because `-n auto` reads the settings before pytest_configure. Workers get
    the controller's options.
    """
    chosen = config.option.autoresearch_proposer or config.getini(
        "autoresearch_proposer"
    )
    if config.option.autoresearch and not chosen and _only_mar8(config):
        config.option.autoresearch_proposer = "none"


def _only_mar8(config: pytest.Config) -> bool:
    named = [config.invocation_params.dir / arg.split("::")[0] for arg in config.args]
    return all(path.resolve().is_relative_to(HERE) for path in named)

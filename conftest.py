"""Root conftest: pytester for the tests, and nothing else.

The plugin itself is found through its entry point (`pip install -e .`); a second
registration from here would abort pytest.
"""

pytest_plugins = ["pytester"]

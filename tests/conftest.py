"""What all tests share: the lab's fixtures, and the tie to the requirements."""

pytest_plugins = ["tests.lab.fixtures", "tests.coverage"]

"""What every test starts from."""

import os

from hypothesis import settings

# A shared machine may pause any test; and CI should fail for what changed, not by chance.
settings.register_profile("suite", deadline=None, print_blob=True)
settings.register_profile("ci", settings.get_profile("suite"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "suite")

import sys
from pathlib import Path

# The samples that render draws are used here too; tests are no packages.
sys.path.insert(0, str(Path(__file__).parent.parent / "render"))
sys.path.insert(0, str(Path(__file__).parent.parent / "cli"))

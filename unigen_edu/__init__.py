"""unigen_edu: the companion package of the book on the unified view of deep generative models."""

from importlib.metadata import PackageNotFoundError, version

from unigen_edu.errors import UnigenError

try:
    __version__ = version("unigen-edu")
except PackageNotFoundError:  # run from the source folder without being installed
    __version__ = "0.1.0"

__all__ = ["UnigenError", "__version__"]

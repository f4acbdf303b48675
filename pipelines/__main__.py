"""`twotower`, or `python -m pipelines`."""

from pipelines.cli.app import main

__all__ = ["main"]

if __name__ == "__main__":
    main()

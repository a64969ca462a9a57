"""Let `python -m carryflow` be the command line."""

from carryflow.cli import main

if __name__ == "__main__":
    main()

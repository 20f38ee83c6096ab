"""``python -m brainalign`` is the command line."""

from brainalign.cli import main

if __name__ == "__main__":
    main()

"""`python -m headway.cli`: how the supervisor starts its children."""

from headway.cli.main import main

if __name__ == "__main__":
    main()

"""`python -m ops_stream` is the command line."""

from ops_stream.cli.main import main

if __name__ == "__main__":
    main()

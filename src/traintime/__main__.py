"""`python -m traintime` is the command line."""

from traintime.cli.main import main

main()

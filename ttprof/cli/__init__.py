"""The command line: one file per subcommand; only this package and the pytest plugin print errors and exit."""

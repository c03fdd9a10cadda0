"""The pytest plugin: the ``ttprof`` fixture, command-line options and reports."""

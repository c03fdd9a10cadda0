"""The pytest plugin: the ``ttprof`` fixture, its command-line options, and reports."""

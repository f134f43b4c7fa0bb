"""The command line: one function per subcommand; nothing heavy is imported before it is needed.

A command returns its exit code, and raises an `UnfoldError` for all that the user can correct.
"""

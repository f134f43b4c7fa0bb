"""The command line: one function per subcommand; nothing heavy is imported before it is needed."""

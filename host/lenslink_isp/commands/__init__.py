"""The subcommands of the phone's side. Each is imported only when somebody names it."""

"""The command line.

- `main`: reads the arguments and runs a command.
- `commands`: the commands and their options.
- `command_help`: the help texts.
- `schemas`: JSON Schemas and reference pages of configuration files.
- `completion`: completion by the shell.
- `json_output`: output for programs.
- `describe`: one network as text.
"""

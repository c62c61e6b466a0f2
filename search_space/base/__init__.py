"""Common base of all packages, without any code about networks.

- `errors`: the exception for everything that a user can correct.
- `checks`: checks of single values.
- `configuration`: validates configuration classes; one line for an error.
- `schemas`: JSON Schemas and reference pages of them.
- `names`: suggests a known name for a misspelled one.
- `command_line`: options, help and exit codes that all commands share.
- `yaml_file`: reads YAML files.
- `untrusted_files`: reads files of unknown origin within limits.
- `atomic_files`: writes a file completely or not at all.
- `quiet_tensorflow`: imports TensorFlow without its notices.
"""

"""The floor on which all packages stand. It knows nothing of networks.

- `errors`: the exception for everything that a user can correct.
- `checks`: checks of single values.
- `configuration`: validates configuration classes; one line for an error.
- `schemas`: JSON Schemas and reference pages of them.
- `names`: finds the name that a user probably meant.
- `command_line`: options, help and exit codes that all commands share.
- `yaml_file`: reads YAML as people write it.
- `untrusted_files`: reads files of unknown origin within limits.
- `atomic_files`: writes a file whole or not at all.
- `quiet_tensorflow`: imports TensorFlow without its notices.
"""

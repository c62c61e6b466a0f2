"""The configuration of a search.

- `search_config`: all settings of a search, read from YAML; `presets/` has the bundled ones.
- `tracking`: where trials are shown besides the run's own folder.
"""

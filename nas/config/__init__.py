"""The configuration of a search.

- `search_config`: all settings of a search, read from YAML; `presets/` has the bundled ones.
- `sections`: its sections.
- `searched_task`: the network family of a search.
"""

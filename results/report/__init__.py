"""A run as one HTML page.

- `html_page`: builds the page; `page/` has its template, style and scripts.
- `data`: the numbers that its scripts draw.
- `sections`, `family`, `record`, `reliability`: the parts of the page.
- `markup`: escapes all text.
"""

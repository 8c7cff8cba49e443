"""One run: parameters in, a record out (docs/map.md lists the files)."""

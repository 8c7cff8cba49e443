"""The model families, a file each (see family): nothing is imported before it is asked for."""

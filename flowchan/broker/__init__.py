"""The broker's side: the only package that imports redis. It knows Redis and bytes, no types and no states."""

"""What a message looks like in the broker: how keys are spelt, what an entry's fields are, how a body is encoded.

Pure functions from values to bytes and back: no connection, no event loop, no settings, no model of a user.
``docs/wire-format.md`` is the same in words, for clients in other languages.
"""

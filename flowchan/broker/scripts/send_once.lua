-- Stores a message unless one with the same idempotency key was stored before.
-- KEYS: the stream; the marker of the key. ARGV: milliseconds to keep the marker; field, value, …
-- Returns the entry's ID, of this send or of the first.
local before = redis.call('GET', KEYS[2])
if before then
    return before
end
local entry = redis.call('XADD', KEYS[1], '*', unpack(ARGV, 2))
redis.call('SET', KEYS[2], entry, 'PX', ARGV[1])
return entry

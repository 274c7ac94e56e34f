-- With bury.lua before it.
-- Moves one message that a consumer has to the group's dead letters. Given again, it does nothing.
-- KEYS: the stream; the stream of dead letters; the set of the run's streams of dead letters.
-- ARGV: the group; the consumer; the entry; the channel; the stream's checksum; milliseconds to keep dead letters; the
--       reason; what is told of it.
-- Returns whether it did: not if the consumer has the message no more.
local group, consumer, id, channel, checksum, keep, reason, error = unpack(ARGV)
local known = redis.pcall('XPENDING', KEYS[1], group, id, id, 1)
if known.err or not known[1] or known[1][2] ~= consumer then
    return 0
end
local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
if not entry then
    redis.call('XACK', KEYS[1], group, id) -- it was deleted: nobody can have it
    return 0
end
local to = {stream = KEYS[1], dead = KEYS[2], known = KEYS[3]}
local buried, refusal = bury(to, group, channel, checksum, keep, id, entry[2], known[1][4], reason, error)
return buried and 1 or refusal

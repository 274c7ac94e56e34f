-- Sends a dead letter to its channel again, for its group alone, and removes it. Given again, it does nothing.
-- KEYS: the stream; the stream of dead letters; the marker that this one was sent again.
-- ARGV: the dead letter's entry; how many of its first fields and values are its own; the header that names the group;
--       the group; milliseconds to keep what it stores; then, where it is signed, the fields to send instead.
-- Returns the new entry's ID, of this time or of the first; nothing where there is no such dead letter.
local before = redis.call('GET', KEYS[3])
if before then
    return before
end
local letter = redis.call('XRANGE', KEYS[2], ARGV[1], ARGV[1])[1]
if not letter then
    return false
end
local fields, is_named = {}, false
for i = tonumber(ARGV[2]) + 1, #letter[2], 2 do
    if letter[2][i] == 'body' and not is_named then -- the body is the last
        fields[#fields + 1], fields[#fields + 2] = ARGV[3], ARGV[4]
        is_named = true
    end
    if letter[2][i] ~= ARGV[3] then
        fields[#fields + 1], fields[#fields + 2] = letter[2][i], letter[2][i + 1]
    end
end
if not is_named then
    fields[#fields + 1], fields[#fields + 2] = ARGV[3], ARGV[4]
end
if ARGV[6] then
    fields = {unpack(ARGV, 6)}
end
local entry = redis.call('XADD', KEYS[1], '*', unpack(fields))
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[5]) then -- while its run waits it is kept for longer
    redis.call('PEXPIRE', KEYS[1], ARGV[5])
end
redis.call('XDEL', KEYS[2], ARGV[1])
redis.call('SET', KEYS[3], entry, 'PX', ARGV[5])
return entry

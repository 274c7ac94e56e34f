-- With bury.lua before it.
-- With missing.lua before it.
-- Hands the next message of a group to one of its consumers: one whose consumer was not heard of for too long, else
-- the next new one.
-- KEYS: the stream; the stream of dead letters; the set of the run's streams of dead letters; the hash of what the
--       group was handed of each sender.
-- ARGV: the group; the consumer; milliseconds that a lease is for; whether to look for messages of consumers that are
--       gone ('1'), also for such of this one as it never heard of ('2'); milliseconds to keep an empty stream, and dead
--       letters; how often a message is handed out at most (0: no limit); the channel; the stream's checksum; then the
--       entries that this consumer knows it has.
-- Returns {the entry's ID, its fields, how often it was handed out, those that became dead letters}, and where that was
-- not told yet, '<first> <last>' of what is missing in front of it; or {false, the last ID that the stream has given, 0,
-- those that became dead letters}.
local stream, group, consumer, lease, look, keep, most, channel, checksum = KEYS[1], unpack(ARGV, 1, 8)
local to, heard = {stream = stream, dead = KEYS[2], known = KEYS[3]}, KEYS[4]
local buried, held = {}, {}
for i = 9, #ARGV do
    held[ARGV[i]] = true
end

local function read()
    return redis.pcall('XREADGROUP', 'GROUP', group, consumer, 'COUNT', 1, 'STREAMS', stream, '>')
end

-- What this consumer has and never heard of was not handed out; it keeps its count.
local function unheard_of()
    local pending = redis.pcall('XPENDING', stream, group, '-', '+', 100 + #ARGV, consumer)
    for _, each in ipairs(pending.err and {} or pending) do
        if not held[each[1]] then
            local count = math.max(each[4], 1)
            local entry = redis.call('XCLAIM', stream, group, consumer, 0, each[1], 'RETRYCOUNT', count)[1]
            if entry and entry[2] then
                return {entry[1], entry[2], count, buried, redis.call('HGET', heard, entry[1]) or nil}
            end
            redis.call('XACK', stream, group, each[1]) -- its entry was deleted: nobody can have it
        end
    end
    return nil
end

local function overdue()
    local pending = redis.pcall('XPENDING', stream, group, 'IDLE', lease, '-', '+', 100)
    for _, each in ipairs(pending.err and {} or pending) do
        if not held[each[1]] then
            local is_spent = tonumber(most) > 0 and each[4] >= tonumber(most)
            local entry = is_spent and redis.call('XRANGE', stream, each[1], each[1])[1]
                or not is_spent and redis.call('XCLAIM', stream, group, consumer, 0, each[1])[1]
            if not (entry and entry[2]) then
                redis.call('XACK', stream, group, each[1]) -- likewise
            elseif not is_spent then
                return {entry[1], entry[2], each[4] + 1, buried, redis.call('HGET', heard, entry[1]) or nil}
            elseif bury(to, group, channel, checksum, keep, each[1], entry[2], each[4], 'max-deliveries', '') then
                buried[#buried + 1] = each[1]
            end
        end
    end
    return nil
end

if look ~= '' then
    keep_hearing(heard, stream, keep)
    local found = look == '2' and unheard_of() or overdue()
    if found then
        return found
    end
    local consumers = redis.pcall('XINFO', 'CONSUMERS', stream, group)
    if not consumers.err then
        for _, each in ipairs(consumers) do
            -- name, <name>, pending, <number>, idle, <milliseconds>
            if each[4] == 0 and each[2] ~= consumer and each[6] > lease * 20 then
                redis.call('XGROUP', 'DELCONSUMER', stream, group, each[2])
            end
        end
    end
end

local found = read()
if found and found.err then
    if not string.find(found.err, 'NOGROUP', 1, true) then
        return found
    end
    redis.call('XGROUP', 'CREATE', stream, group, '0', 'MKSTREAM')
    if redis.call('PTTL', stream) < tonumber(keep) then
        redis.call('PEXPIRE', stream, keep)
    end
    begin_to_hear(heard, keep)
    found = read()
end
if found then
    local entry = found[1][2][1]
    return {entry[1], entry[2], 1, buried, missing_before(heard, stream, keep, entry)}
end
local about = redis.call('XINFO', 'STREAM', stream)
for i = 1, #about, 2 do
    if about[i] == 'last-generated-id' then
        return {false, about[i + 1], 0, buried}
    end
end
return {false, '0-0', 0, buried}

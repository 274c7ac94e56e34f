-- Hands the next message of a group to one of its consumers: one whose consumer was not heard of for too long, else
-- the next new one.
-- KEYS: the stream. ARGV: the group; the consumer; milliseconds that a lease is for; whether to look for messages of
--       consumers that are gone ('1'), also for such of this one as it never heard of ('2'); milliseconds to keep an
--       empty stream; then the entries that this consumer knows it has.
-- Returns {the entry's ID, its fields, how often it was handed out, whether there was none of its fields any more},
-- or {false, the last ID that the stream has given}.
local stream, group, consumer, lease, look, keep = KEYS[1], unpack(ARGV, 1, 5)
local held = {}
for i = 6, #ARGV do
    held[ARGV[i]] = true
end

local function read()
    return redis.pcall('XREADGROUP', 'GROUP', group, consumer, 'COUNT', 1, 'STREAMS', stream, '>')
end

local function overdue(...)
    local pending = redis.pcall('XPENDING', stream, group, ...)
    if pending.err then
        return nil
    end
    for _, each in ipairs(pending) do
        if not held[each[1]] then
            local entry = redis.call('XCLAIM', stream, group, consumer, 0, each[1])[1]
            if entry and entry[2] then
                return {entry[1], entry[2], each[4] + 1}
            end
            redis.call('XACK', stream, group, each[1]) -- its entry was deleted: nobody can have it
        end
    end
    return nil
end

if look ~= '' then
    local found = look == '2' and overdue('-', '+', 100, consumer) or overdue('IDLE', lease, '-', '+', 100)
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
    if redis.call('PTTL', stream) < 0 then
        redis.call('PEXPIRE', stream, keep)
    end
    found = read()
end
if found then
    local entry = found[1][2][1]
    return {entry[1], entry[2], 1}
end
local about = redis.call('XINFO', 'STREAM', stream)
for i = 1, #about, 2 do
    if about[i] == 'last-generated-id' then
        return {false, about[i + 1]}
    end
end
return {false, '0-0'}

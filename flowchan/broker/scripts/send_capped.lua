-- With keeping.lua before it.
-- Stores a message unless its channel is full; nor one whose idempotency key was stored before.
-- What counts is what waits: where groups work on the channel, what the one that is furthest behind has not
-- acknowledged; where there is none, every entry, for nobody says what is done with.
-- KEYS: the stream; the marker of the idempotency key, if there is one.
-- ARGV: four numbers with blanks between them: how many may wait, milliseconds to keep the channel and the marker, for
--       which senders may look for what they have sent, to keep the channel when its run has ended; then field, value, …
-- Returns the entry's ID, of this send or of the first; or the error CHANNELFULL.
local stream, marker = KEYS[1], KEYS[2]
local most, keep, young, ended = string.match(ARGV[1], '^(%d+) (%d+) (%d+) (%d+)$')
local before = marker and redis.call('GET', marker)
if before then
    return before
end

-- How many wait; and the first entry that anybody has still to read or to acknowledge, if there are groups.
local function waiting(length)
    local most_behind, first_ms, first_seq = nil, nil, nil
    for _, each in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
        -- name, <name>, consumers, <number>, pending, <number>, last-delivered-id, <ID>, entries-read, <number>, lag, …
        local ms, seq = string.match(each[8], '^(%d+)%-(%d+)$')
        seq = tonumber(seq) + 1
        if each[6] > 0 then
            ms, seq = string.match(redis.call('XPENDING', stream, each[2])[2], '^(%d+)%-(%d+)$')
        end
        -- A number beyond these is not exact here, and the last that there is has none behind it: rather too low.
        ms, seq = tonumber(ms), math.min(tonumber(seq), 2 ^ 53)
        if not first_ms or ms < first_ms or ms == first_ms and seq < first_seq then
            first_ms, first_seq = ms, seq
        end
        if not client_of(each[2]) then
            -- The server does not always know how far a group is behind, where entries were deleted.
            most_behind = math.max(most_behind or 0, math.min(length, each[6] + (each[12] or length)))
        end
    end
    return most_behind, first_ms, first_seq
end

local length = redis.call('XLEN', stream)
if length >= tonumber(most) then
    local behind, ms, seq = waiting(length)
    if (behind or length) >= tonumber(most) then
        return redis.error_reply('CHANNELFULL ' .. most)
    end
    -- All have done with what is in front. What is young stays: its sender may not have heard of it yet.
    local time = redis.call('TIME')
    local old = time[1] * 1000 + math.floor(time[2] / 1000) - young
    if old <= ms then
        ms, seq = old, 0
    end
    redis.call('XTRIM', stream, 'MINID', string.format('%.0f-%.0f', ms, seq))
end
local entry = redis.call('XADD', stream, '*', unpack(ARGV, 2))
local prefix, channel = string.match(stream, '^(.*:)([^:]*)$')
keep_channel(stream, prefix .. '@run', tonumber(keep), tonumber(ended), channel)
if marker then
    redis.call('SET', marker, entry, 'PX', keep)
end
return entry

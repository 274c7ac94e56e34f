-- What is missing in front of a group's new message, by the numbers of its sender; as input/sequences.py has it for a
-- receiver of its own.
-- The hash `heard` has for each producer the number of its last message that was handed out; `all`: 1 where the hash
-- has been there since the group began, at the stream's first entry, so that a producer which it does not have was
-- never heard; `unread`: how many entries had no number, and `unread:<producer>`, how many of them its last gap has
-- accounted for; and for an entry the gap in front of it, until that is told.
local MOST = 1024 + 2

-- Before anything is handed out to a group that begins.
local function begin_to_hear(heard, keep)
    if redis.call('EXISTS', heard) == 0 then
        redis.call('HSET', heard, 'all', 1, 'unread', 0)
        redis.call('PEXPIRE', heard, 2 * keep)
    end
end

-- Longer than the stream, by as much as that is kept: who begins it anew goes on with its numbers. A tenth less is not
-- worth a write.
local function keep_hearing(heard, stream, keep)
    local most, left = math.max(redis.call('PTTL', stream), tonumber(keep)) + keep, redis.call('PTTL', heard)
    if left ~= -2 and left < most * 0.9 then
        redis.call('PEXPIRE', heard, most)
    end
end

-- Notes changes; forgets everything else where that becomes too much.
local function note(heard, stream, keep, all, changes)
    if not all then
        redis.call('HSET', heard, 'all', 0, 'unread', 0)
    end
    redis.call('HSET', heard, unpack(changes))
    if redis.call('HLEN', heard) > MOST then
        local unread = redis.call('HGET', heard, 'unread')
        redis.call('UNLINK', heard)
        redis.call('HSET', heard, 'all', 0, 'unread', unread)
        redis.call('HSET', heard, unpack(changes))
        all = nil
    end
    if not all then
        redis.call('PEXPIRE', heard, math.max(redis.call('PTTL', stream), tonumber(keep)) + keep)
    end
end

-- Notes that a producer's messages up to a number were sent; '<first> <last>' of what is missing of them up to another,
-- or nil.
local function heard_of(heard, stream, keep, entry, producer, had, number, missing_to, changes)
    local known = redis.call('HMGET', heard, 'all', 'unread', 'unread:' .. producer)
    local missing, unread = nil, tonumber(known[2]) or 0
    if missing_to > had and (had > 0 or known[1] == '1') then
        -- What could not be read may have been any sender's.
        if unread - (tonumber(known[3]) or 0) < missing_to - had then
            missing = string.format('%.0f %.0f', had + 1, missing_to)
            changes[#changes + 1], changes[#changes + 2] = entry, missing
        end
        if unread > 0 then
            changes[#changes + 1], changes[#changes + 2] = 'unread:' .. producer, unread
        end
    end
    if number > had then
        changes[#changes + 1], changes[#changes + 2] = producer, number
    end
    note(heard, stream, keep, known[1], changes)
    return missing
end

local function compare(heard, stream, keep, entry)
    local fields, follows = entry[2], nil
    local version, id, seq = fields[2], fields[4], fields[8]
    -- As flowchan writes it, without headers, it is looked at in half the time of any other.
    if #fields ~= 12 or fields[7] ~= 'seq' or fields[3] ~= 'id' or fields[1] ~= 'v' or fields[9] ~= 'schema' then
        local values = {}
        for i = 1, #fields, 2 do
            values[fields[i]] = fields[i + 1]
        end
        if values['h.flowchan.group'] then
            return nil -- it was there before, with this number
        end
        version, id, seq, follows = values.v, values.id, values.seq, values['h.flowchan.follows']
    end
    local producer = version == '1' and id and string.match(id, '^(%x+)%-%x+$')
    -- No double is exact beyond fifteen digits, and no sender comes that far.
    local number = seq and #seq <= 15 and string.find(seq, '^%d+$') and tonumber(seq)
    if not (producer and #producer == 16 and number and number > 0) then
        local known = redis.call('HMGET', heard, 'all', 'unread')
        note(heard, stream, keep, known[1], {'unread', (tonumber(known[2]) or 0) + 1})
        return nil
    end

    -- One command, where nothing is missing.
    local had = redis.call('HINCRBY', heard, producer, 1) - 1
    if number == had + 1 and had > 0 then
        return nil
    end
    if number <= had then
        redis.call('HSET', heard, producer, had)
        return nil
    end
    if number == 1 then
        local other, counter = string.match(follows or '', '^([0-9a-f]+)%-([0-9a-f]+)$')
        if other and #other == 16 and #counter <= 12 then
            local to, last = tonumber(counter, 16), tonumber(redis.call('HGET', heard, other) or nil) or 0
            return heard_of(heard, stream, keep, entry[1], other, last, to, to, {producer, 1})
        end
        local length = redis.call('HLEN', heard)
        if length > 1 and length <= MOST then
            return nil
        end
    end
    return heard_of(heard, stream, keep, entry[1], producer, had, number, number - 1, {})
end

-- '<first> <last>' of what is missing, or nil. What goes wrong here keeps no message from being handed out.
local function missing_before(heard, stream, keep, entry)
    local is_done, missing = pcall(compare, heard, stream, keep, entry)
    if not is_done then
        redis.call('UNLINK', heard) -- or the next would seem to be behind a gap
        return nil
    end
    return missing
end


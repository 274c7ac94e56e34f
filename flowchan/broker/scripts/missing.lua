-- What is missing in front of a group's new message, by the numbers of its sender; as input/sequences.py has it for a
-- receiver of its own.
-- The hash `heard` has for each producer the number of its last message that was handed out; `all`: 1 where the hash
-- has been there since the group began, at the stream's first entry, so that a producer which it does not have was
-- never heard; `unread`: how many entries had no number; and for an entry the gap in front of it, until that is told.
local MOST_PRODUCERS = 1024

-- Before anything is handed out to a group that begins.
local function begin_to_hear(heard, keep)
    if redis.call('EXISTS', heard) == 0 then
        redis.call('HSET', heard, 'all', 1, 'unread', 0)
        redis.call('PEXPIRE', heard, keep)
    end
end

-- As long as the stream, at least; a tenth less is not worth a write.
local function keep_hearing(heard, stream, keep)
    local most, left = math.max(redis.call('PTTL', stream), tonumber(keep)), redis.call('PTTL', heard)
    if left ~= -2 and left < most * 0.9 then
        redis.call('PEXPIRE', heard, most)
    end
end

-- '<first> <last>' of what is missing, or nil.
local function missing_before(heard, stream, keep, entry)
    local fields = entry[2]
    local version, id, seq, follows
    for i = 1, #fields, 2 do
        local name = fields[i]
        if name == 'id' then
            id = fields[i + 1]
        elseif name == 'seq' then
            seq = fields[i + 1]
        elseif name == 'v' then
            version = fields[i + 1]
        elseif name == 'h.flowchan.follows' then
            follows = fields[i + 1]
        elseif name == 'h.flowchan.group' then
            return nil -- it was there before, with this number
        end
    end
    local producer = version == '1' and id and string.match(id, '^([0-9a-f]+)%-[0-9a-f]+$')
    -- No double is exact beyond fifteen digits, and no sender comes that far.
    local number = seq and #seq <= 15 and string.find(seq, '^%d+$') and tonumber(seq)
    local is_readable = producer and #producer == 16 and number and number > 0

    local known = redis.call('HMGET', heard, 'all', 'unread', is_readable and producer or 'unread')
    local unread = tonumber(known[2]) or 0
    local had, had_unread = tonumber(known[3]), 0
    if known[3] and not had then
        had, had_unread = string.match(known[3], '^(%d+) (%d+)$')
        had, had_unread = tonumber(had), tonumber(had_unread)
    end

    -- What could not be read may have been any sender's.
    local function gap(last, since, to)
        local all = last or known[1] == '1'
        if all and to > (last or 0) and unread - (since or 0) < to - (last or 0) then
            return string.format('%.0f %.0f', (last or 0) + 1, to)
        end
        return nil
    end

    local changes, missing = {}, nil
    local function note(name, last)
        changes[#changes + 1], changes[#changes + 2] = name, unread > 0 and last .. ' ' .. unread or last
    end
    if not is_readable then
        changes = {'unread', unread + 1}
    else
        if not had and number == 1 then
            local other, counter = string.match(follows or '', '^([0-9a-f]+)%-([0-9a-f]+)$')
            if other and #other == 16 and #counter <= 12 then
                local last, since = string.match(redis.call('HGET', heard, other) or '', '^(%d+) ?(%d*)$')
                local to = tonumber(counter, 16)
                missing = gap(tonumber(last), tonumber(since), to)
                if missing then
                    note(other, string.format('%.0f', to))
                end
            end
        elseif had and number <= had then
            return nil
        elseif number ~= (had or 0) + 1 then
            missing = gap(had, had_unread, number - 1)
        end
        note(producer, seq)
        if missing then
            changes[#changes + 1], changes[#changes + 2] = entry[1], missing
        end
    end

    local is_new = not known[1]
    if is_new then
        redis.call('HSET', heard, 'all', 0, 'unread', 0)
    end
    if redis.call('HSET', heard, unpack(changes)) > 0 and redis.call('HLEN', heard) > MOST_PRODUCERS + 2 then
        redis.call('UNLINK', heard)
        redis.call('HSET', heard, 'all', 0, 'unread', unread)
        redis.call('HSET', heard, unpack(changes))
        is_new = true
    end
    if is_new then
        redis.call('PEXPIRE', heard, math.max(redis.call('PTTL', stream), tonumber(keep)))
    end
    return missing
end


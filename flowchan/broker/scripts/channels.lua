-- With groups.lua before it.
-- Has all channels of a run kept for longer, as while it waits, or for less, as when it has ended. The run's record has
-- a field for each that was sent to, '@' and its name: for the first eighty or so, lest the record grow without bound.
local function longer(record, keep)
    local prefix = string.sub(record, 1, -5)
    for _, field in ipairs(redis.call('HKEYS', record)) do
        if string.sub(field, 1, 1) == '@' then
            local left = redis.call('PTTL', prefix .. string.sub(field, 2))
            if left >= 0 and left < keep then
                redis.call('PEXPIRE', prefix .. string.sub(field, 2), keep)
            end
        end
    end
end

-- Not one that a group works on: what it has not done yet is to be done.
local function shorter(record, keep)
    local prefix = string.sub(record, 1, -5)
    for _, field in ipairs(redis.call('HKEYS', record)) do
        if string.sub(field, 1, 1) == '@' then
            local stream, is_worked_on = prefix .. string.sub(field, 2), false
            local groups = redis.pcall('XINFO', 'GROUPS', stream)
            for _, each in ipairs(groups.err and {} or groups) do
                is_worked_on = is_worked_on or not client_of(each[2])
            end
            if not is_worked_on and redis.call('PTTL', stream) > keep then
                redis.call('PEXPIRE', stream, keep)
            end
            redis.call('HDEL', record, field)
        end
    end
end


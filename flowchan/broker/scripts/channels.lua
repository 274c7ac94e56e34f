-- With groups.lua before it.
-- Has all channels of a run kept for longer, as while it waits, or for less, as when it has ended. The run's record has
-- a field for each that was sent to, '@' and its name: for the first eighty or so, lest the record grow without bound.
-- A channel may be on its way to another node, and the record not yet: then it is left as it is, and nothing fails.
local function channels(record)
    local prefix, found = string.sub(record, 1, -5), {}
    for _, field in ipairs(redis.call('HKEYS', record)) do
        if string.sub(field, 1, 1) == '@' then
            local stream = prefix .. string.sub(field, 2)
            local left = redis.pcall('PTTL', stream)
            found[#found + 1] = {field = field, stream = stream, left = type(left) == 'number' and left or -2}
        end
    end
    return found
end

local function longer(record, keep)
    for _, each in ipairs(channels(record)) do
        if each.left >= 0 and each.left < keep then
            redis.pcall('PEXPIRE', each.stream, keep)
        end
    end
end

-- Not one that a group works on: what it has not done yet is to be done.
local function shorter(record, keep)
    for _, each in ipairs(channels(record)) do
        local groups = each.left > keep and redis.pcall('XINFO', 'GROUPS', each.stream) or {}
        local is_worked_on = groups.err ~= nil
        for _, group in ipairs(groups.err and {} or groups) do
            is_worked_on = is_worked_on or not client_of(group[2])
        end
        if each.left > keep and not is_worked_on then
            redis.pcall('PEXPIRE', each.stream, keep)
        end
        redis.call('HDEL', record, each.field)
    end
end


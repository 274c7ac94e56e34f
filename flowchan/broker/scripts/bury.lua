-- Moves a message that a group has pending to the group's dead letters, unless the server takes no more; returns
-- whether it did.
-- A letter's first six fields are its own, the others are the entry's, as they were.
local function bury(to, group, channel, checksum, keep, id, fields, deliveries, reason, error)
    local letter = {
        'dead.v', '1', 'dead.reason', reason, 'dead.group', group, 'dead.key', channel .. '-' .. id .. '-' .. checksum,
        'dead.deliveries', deliveries, 'dead.error', error,
    }
    if #fields <= 7000 then -- more than that Lua cannot pass on; such an entry can be read in its channel only
        for _, part in ipairs(fields) do
            letter[#letter + 1] = part
        end
    end
    local stored = redis.pcall('XADD', to.dead, '*', unpack(letter))
    if type(stored) == 'table' and stored.err then
        return false, stored
    end
    redis.call('XACK', to.stream, group, id)
    redis.call('SADD', to.known, group .. ':' .. channel)
    redis.call('PEXPIRE', to.dead, keep)
    if redis.call('PTTL', to.known) < tonumber(keep) then
        redis.call('PEXPIRE', to.known, keep)
    end
    return true
end


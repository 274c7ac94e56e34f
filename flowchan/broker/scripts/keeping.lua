-- With groups.lua before it.
-- Has a channel kept that was sent to: as long as its run, if that is longer and the channel one of its first eighty or
-- so; for less when the run has ended and no group works on the channel. What it has already is never shortened. And
-- notes the channel with its run: see channels.lua. Where nobody can say what the run is, on its way to another node, it
-- is kept as a channel without one.
local function keep_channel(stream, record, keep, ended, channel)
    local state = redis.pcall('HGET', record, 'type')
    if state == 'COMPLETED' or state == 'FAILED' or state == 'CRASHED' or state == 'CANCELLED' then
        if not is_worked_on(stream) then
            keep = ended
        end
    elseif type(state) == 'string' then
        local note = '@' .. channel
        if redis.call('HLEN', record) < 100 then
            redis.call('HSETNX', record, note, '')
        end
        -- One that is not noted would be kept as long when the run has ended sooner.
        if redis.call('HEXISTS', record, note) == 1 then
            keep = math.max(keep, redis.call('PTTL', record))
        end
    end
    if redis.call('PTTL', stream) < keep then
        redis.call('PEXPIRE', stream, keep)
    end
end


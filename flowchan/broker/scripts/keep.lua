-- Has a channel kept that was sent to: as long as its run, if that is longer; for less when the run has ended. What it
-- has already is never shortened. And notes the channel with its run: see channels.lua.
-- KEYS: the channel's stream; its run's record. ARGV: milliseconds to keep it; the same after the end; the channel.
local keep, state = tonumber(ARGV[1]), redis.call('HGET', KEYS[2], 'type')
if state == 'COMPLETED' or state == 'FAILED' or state == 'CRASHED' or state == 'CANCELLED' then
    keep = tonumber(ARGV[2])
elseif state then
    keep = math.max(keep, redis.call('PTTL', KEYS[2]))
    if redis.call('HLEN', KEYS[2]) < 100 then
        redis.call('HSETNX', KEYS[2], '@' .. ARGV[3], '')
    end
end
if redis.call('PTTL', KEYS[1]) < keep then
    redis.call('PEXPIRE', KEYS[1], keep)
end
return 1

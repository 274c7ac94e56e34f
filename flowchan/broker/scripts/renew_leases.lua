#!lua flags=allow-oom
-- Keeps the runs that somebody executes from being overdue. It takes no more memory, so it may be done where there is
-- none: or a server that is full for longer than a lease would have all of them crash.
-- KEYS: what is due in the partition; then, for each run, its record, its states, its inputs.
-- ARGV: the holder; milliseconds that the lease is for; milliseconds that records are kept; the runs.
-- Returns for each run the type of its state; an empty string where it is lost: another has it, or nobody.
local types = {}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 4, #ARGV do
    local at = 2 + (i - 4) * 3
    local known = redis.call('HMGET', KEYS[at], 'holder', 'type')
    if known[1] == ARGV[1] then
        types[#types + 1] = known[2]
        if redis.call('ZSCORE', KEYS[1], ARGV[i]) then
            redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[i])
            for key = at, at + 2 do
                if redis.call('PTTL', KEYS[key]) < tonumber(ARGV[3]) then
                    redis.call('PEXPIRE', KEYS[key], ARGV[3])
                end
            end
        end
    elseif not known[1] and (known[2] == 'CANCELLED' or known[2] == 'SUSPENDED') then
        types[#types + 1] = known[2] -- nobody has it any more, for that was done to it
    else
        types[#types + 1] = ''
    end
end
return types

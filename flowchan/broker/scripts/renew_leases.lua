#!lua flags=allow-oom
-- Keeps the runs that somebody executes from being overdue. It takes hardly any memory, so it may be done where there is
-- none: or a server that is full for longer than a lease would have all of them crash.
-- KEYS: what is due in the partition, and the partition's runs; then, for each run, its record, its states, its inputs.
-- ARGV: the holder; milliseconds that the lease is for; milliseconds that records are kept; the runs.
-- Returns for each run the type of its state; an empty string where it is lost: another has it, or nobody.
local due, runs = KEYS[1], KEYS[2]
local types = {}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function kept(key)
    if redis.call('PTTL', key) < tonumber(ARGV[3]) then
        redis.call('PEXPIRE', key, ARGV[3])
    end
end

local is_any_held = false
for i = 4, #ARGV do
    local at = 3 + (i - 4) * 3
    local known = redis.call('HMGET', KEYS[at], 'holder', 'type', 'created')
    if known[1] == ARGV[1] then
        types[#types + 1] = known[2]
        -- Whatever has a holder has a lease. That something is due may be forgotten: it is noted with nothing else.
        redis.call('ZADD', due, now + ARGV[2], ARGV[i])
        redis.call('ZADD', runs, 'NX', known[3] or now, ARGV[i])
        for key = at, at + 2 do
            kept(KEYS[key])
        end
        is_any_held = true
    elseif not known[1] and (known[2] == 'CANCELLED' or known[2] == 'SUSPENDED') then
        types[#types + 1] = known[2] -- nobody has it any more, for that was done to it
    else
        types[#types + 1] = ''
    end
end
if is_any_held then
    kept(due)
    kept(runs)
end
return types

-- Takes a request of a deployment: its run is the taker's, and nobody else's.
-- KEYS: the requests of a partition; what is due there; the record and the states of the run that is asked for.
-- ARGV: the request's entry; the run; the holder; milliseconds that the lease is for; the new state's ID, its JSON, its
--       type, what of the JSON is neither; milliseconds to keep.
-- Returns 1 if the run is the taker's, else 0; the oldest request that waits now: its entry, its run. Both are empty if
-- there is none. A request of a run that wants no execution any more goes.
-- The request goes last: what the server refuses in the middle, for its memory is full or a key is on its way to
-- another node, is refused as a whole.
local requests, due, record, states = unpack(KEYS)
local request, run = ARGV[1], ARGV[2]
local is_taken = 0

local waiting = redis.call('XRANGE', requests, request, request)[1]
if waiting then
    local known = redis.call('HMGET', record, 'type', 'state_id')
    if known[1] == 'SCHEDULED' and known[2] == waiting[2][4] then
        local time = redis.call('TIME')
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        local entry = redis.call('XADD', states, '*', 'v', '1', 'id', ARGV[5], 'state', ARGV[6])
        redis.call('HSET', record, 'type', ARGV[7], 'state_id', ARGV[5], 'state', ARGV[8], 'entry', entry,
            'holder', ARGV[3])
        redis.call('ZADD', due, now + ARGV[4], run)
        for _, key in ipairs({record, states, due}) do
            if redis.call('PTTL', key) < tonumber(ARGV[9]) then
                redis.call('PEXPIRE', key, ARGV[9])
            end
        end
        is_taken = 1
    end
    redis.call('XDEL', requests, request)
end
local following = redis.call('XRANGE', requests, '-', '+', 'COUNT', 1)[1]
return {is_taken, following and following[1] or '', following and following[2][6] or ''}

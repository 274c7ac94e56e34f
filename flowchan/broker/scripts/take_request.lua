-- Takes the oldest request of a deployment in one partition: the run is the taker's, and nobody else's.
-- KEYS: the requests; what is due in the partition.
-- ARGV: the holder; milliseconds that the lease is for; the new state's ID, its JSON, its type, what of the JSON is
--       neither; milliseconds to keep.
-- Returns the run's ID and the next request's entry; an empty string for each that there is none of. Requests of
-- runs that want no execution any more go.
local requests, due = KEYS[1], KEYS[2]
local prefix = string.match(due, '^(.*)@due$')

local function first()
    return redis.call('XRANGE', requests, '-', '+', 'COUNT', 1)[1]
end

while true do
    local request = first()
    if not request then
        return {'', ''}
    end
    redis.call('XDEL', requests, request[1])
    local run = request[2][6]
    local record = prefix .. run .. ':@run'
    local states = prefix .. run .. ':@states'
    local known = redis.call('HMGET', record, 'type', 'state_id')
    if known[1] == 'SCHEDULED' and known[2] == request[2][4] then
        local time = redis.call('TIME')
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        local entry = redis.call('XADD', states, '*', 'v', '1', 'id', ARGV[3], 'state', ARGV[4])
        redis.call('HSET', record, 'type', ARGV[5], 'state_id', ARGV[3], 'state', ARGV[6], 'entry', entry,
            'holder', ARGV[1])
        redis.call('ZADD', due, now + ARGV[2], run)
        for _, key in ipairs({record, states, prefix .. run .. ':@inputs', due}) do
            if redis.call('PTTL', key) < tonumber(ARGV[7]) then
                redis.call('PEXPIRE', key, ARGV[7])
            end
        end
        local next = first()
        return {run, next and next[1] or ''}
    end
end

-- Takes the oldest request of a deployment in one partition: the run is the taker's, and nobody else's.
-- KEYS: the requests; what is due in the partition.
-- ARGV: the holder; milliseconds that the lease is for; the new state's ID, JSON and type; milliseconds to keep.
-- Returns the run's ID, or nothing where there is no request. Requests of runs that want no execution any more go.
local requests, due = KEYS[1], KEYS[2]
local prefix = string.match(due, '^(.*)@due$')
while true do
    local first = redis.call('XRANGE', requests, '-', '+', 'COUNT', 1)[1]
    if not first then
        return false
    end
    redis.call('XDEL', requests, first[1])
    local run = first[2][6]
    local record = prefix .. run .. ':@run'
    local states = prefix .. run .. ':@states'
    local known = redis.call('HMGET', record, 'type', 'state_id')
    if known[1] == 'SCHEDULED' and known[2] == first[2][4] then
        local time = redis.call('TIME')
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        local entry = redis.call('XADD', states, '*', 'v', '1', 'id', ARGV[3], 'state', ARGV[4])
        redis.call('HSET', record, 'type', ARGV[5], 'state_id', ARGV[3], 'state', ARGV[4], 'entry', entry,
            'holder', ARGV[1])
        redis.call('PEXPIRE', states, ARGV[6])
        redis.call('ZADD', due, now + ARGV[2], run)
        return run
    end
end

-- With channels.lua before it.
-- Gives a run its next state, if that may follow the one that it has: the change is whole, or there is none.
-- KEYS: the run's record, its states, its inputs; what is due in its partition, and the partition's runs; then,
--       if it is to be executed by a deployment, the requests of that deployment.
-- ARGV: the change, in MessagePack; the run's ID; the new state's ID; its JSON; what of that is neither ID nor type.
-- Returns what became of it; the run's state: its type, its ID, the rest; and its entry in the stream of states:
--   done, unknown, exists, refused, lost (another holder has the run), expired (its pause has), early (not overdue,
--   or it is doubted only).
local record, states, inputs, due, runs, requests = unpack(KEYS)
local change, run, id, state, rest = cmsgpack.unpack(ARGV[1]), unpack(ARGV, 2, 5)
local known = redis.call('HMGET', record, 'type', 'state_id', 'state', 'holder', 'entry', 'expires')
local is_new = not known[1]

local function answer(what)
    return {what, known[1] or '', known[2] or '', known[3] or '', known[5] or ''}
end

if known[2] == id then
    return answer('done') -- the reply to an earlier try was lost
end
if change.again then
    -- It was tried before, and the run may have gone on since.
    for _, entry in ipairs(redis.call('XREVRANGE', states, '+', '-', 'COUNT', 32)) do
        if entry[2][4] == id then
            return {'done', change.type, id, rest, entry[1]}
        end
    end
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if is_new then
    if not change.new then
        return answer('unknown')
    end
else
    if change.new then
        return answer('exists')
    end
    if change.expected and change.expected ~= known[2] then
        return answer('refused')
    end
    if change.holder and change.holder ~= known[4] then
        return answer('lost')
    end
    if not change.follows[known[1]] then
        return answer('refused')
    end
    if change.in_time and known[6] and tonumber(known[6]) <= now then
        return answer('expired')
    end
    local over = change.overdue and redis.call('ZSCORE', due, run) or 'inf'
    if change.overdue and now < tonumber(over) then
        return answer('early')
    end
    if change.overdue and known[4] and known[1] ~= 'PENDING' and tonumber(over) > (change.witnessed or 0) then
        -- A server that was away, or that has taken another's place, has heard of nobody: who lives is given the time
        -- to come back. Who looks now does not know better, so the lease is doubted first: this very one, here.
        -- (What has not begun may begin elsewhere.)
        local about = redis.pcall('INFO', 'server')
        local server = type(about) == 'string' and string.match(about, 'run_id:(%x+)') or ''
        local doubt = over .. ' ' .. server .. ' '
        local doubted = redis.call('HGET', record, 'doubted') or ''
        if string.sub(doubted, 1, #doubt) ~= doubt then
            redis.call('HSET', record, 'doubted', doubt .. now)
            return answer('early')
        elseif now < string.sub(doubted, #doubt + 1) + change.grace then
            return answer('early')
        end
    end
end

local entry = redis.call('XADD', states, '*', 'v', '1', 'id', id, 'state', state)
redis.call('HSET', record, 'type', change.type, 'state_id', id, 'state', rest, 'entry', entry)
redis.call('HDEL', record, 'expires', 'doubted', unpack(change.clear))
for field, value in pairs(change.set) do
    redis.call('HSET', record, field, value)
end
for _, field in ipairs(change.forget) do
    redis.call('HDEL', inputs, field)
end
for field, value in pairs(change.inputs) do
    redis.call('HSET', inputs, field, value)
end
if change.expires then
    redis.call('HSET', record, 'expires', now + change.expires)
end
for _, field in ipairs(change.counts) do
    redis.call('HINCRBY', record, field, 1)
end

if change.due then
    redis.call('ZADD', due, now + change.due, run)
else
    redis.call('ZREM', due, run)
end
if is_new then
    redis.call('HSET', record, 'created', now)
    redis.call('ZADD', runs, now, run)
    -- The oldest may have outlived their records.
    for _, old in ipairs(redis.call('ZRANGE', runs, 0, 1)) do
        if redis.pcall('EXISTS', string.sub(runs, 1, -6) .. old .. ':@run') == 0 then
            redis.call('ZREM', runs, old)
        end
    end
end
if requests then
    redis.call('XADD', requests, '*', 'v', '1', 'id', id, 'run', run)
    redis.call('PEXPIRE', requests, change.keep)
end

for _, key in ipairs({record, states, inputs}) do
    redis.call('PEXPIRE', key, change.keep)
end
if change.waits then
    longer(record, change.keep)
end
if change.linger then
    shorter(record, change.ended)
    -- It has ended: the stream, which takes four kilobytes at least, is kept for those who follow it, and of the
    -- states only type, time and name in small fields.
    for i, each in ipairs(redis.call('XREVRANGE', states, '+', '-', 'COUNT', 20)) do
        local one = cjson.decode(each[2][6])
        redis.call('HSET', record, 'was-' .. i, one.type .. ' ' .. one.timestamp .. ' ' .. one.name)
    end
    redis.call('PEXPIRE', states, math.min(change.linger, change.keep))
end
for _, key in ipairs({due, runs}) do
    if redis.call('PTTL', key) < change.keep then
        redis.call('PEXPIRE', key, change.keep)
    end
end
return {'done', change.type, id, rest, entry}

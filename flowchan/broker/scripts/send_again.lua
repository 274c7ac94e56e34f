-- Stores a message under the ID that it was sent with before, unless it was stored then.
-- Then it is behind the one before it of its producer, with its own ID; or elsewhere, and under another ID: behind a
-- later one receivers would take it for a copy, and behind a gap they would be told of a loss.
-- KEYS: the stream; the marker of the ID.
-- ARGV: milliseconds to keep the marker; the other ID, whose number is 1; the signature with that, or nothing;
--       v, 1, id, the ID, field, value, …
-- Returns the entry's ID, of this send or of the first.
local before = redis.call('GET', KEYS[2])
if before then
    return before
end
local fields = {unpack(ARGV, 4)}
local id, is_late = fields[4], false
local producer, number = string.sub(id, 1, 17), tonumber(string.sub(id, 18), 16)

-- From the end backwards, up to an older one of the same producer. And whether it would stand behind the one before it.
local function stored()
    local last, count = '+', 32
    while true do
        local page = redis.call('XREVRANGE', KEYS[1], last, '-', 'COUNT', count)
        for _, entry in ipairs(page) do
            local its_id, is_for_group = '', false
            for i = 1, #entry[2], 2 do
                if entry[2][i] == 'id' then
                    its_id = entry[2][i + 1]
                elseif entry[2][i] == 'h.flowchan.group' then
                    is_for_group = true -- sent again by whoever did so: it says nothing of when it was sent first
                end
            end
            if not is_for_group and string.sub(its_id, 1, 17) == producer then
                if its_id == id then
                    return entry[1]
                end
                local its_number = tonumber(string.sub(its_id, 18), 16) or number
                if its_number < number then
                    return false, not is_late and its_number == number - 1
                end
                is_late = is_late or its_number > number
            end
        end
        if #page < count then
            return false, not is_late and number == 1
        end
        last = '(' .. page[count][1]
    end
end

local entry, fits = stored()
if not entry then
    local others = fits and {} or {id = ARGV[2], seq = '1', sig = ARGV[3]}
    for i = 1, #fields, 2 do
        fields[i + 1] = others[fields[i]] or fields[i + 1]
    end
    entry = redis.call('XADD', KEYS[1], '*', unpack(fields))
    redis.call('SET', KEYS[2], entry, 'PX', ARGV[1])
end
return entry

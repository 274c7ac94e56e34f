-- Keeps messages that a consumer works on from being handed to another; or gives them back at once.
-- KEYS: the stream. ARGV: the group; the consumer; milliseconds of idleness that they are to have (0: they are being
--       worked on); 1 if they were not handed out after all, so that this time does not count, else 0; then the entries.
-- Returns those that the consumer has no more.
local gone = {}
for i = 5, #ARGV do
    local known = redis.pcall('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1)
    if not known.err and known[1] and known[1][2] == ARGV[2] then
        -- With JUSTID, too, a count can be set; by itself it stays.
        redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'IDLE', ARGV[3],
            'RETRYCOUNT', math.max(known[1][4] - ARGV[4], 0), 'JUSTID')
    else
        gone[#gone + 1] = ARGV[i]
    end
end
return gone

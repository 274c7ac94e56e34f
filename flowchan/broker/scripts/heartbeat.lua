-- With groups.lua before it.
-- Has a client known to be alive, and frees the groups that clients which are not have left in some streams. It looks
-- and frees in one step: a group is never taken from a client that has just been heard of.
-- KEYS: the client's mark; then streams of the same partition. ARGV: the client; milliseconds until it counts as dead.
-- Returns how many groups were freed.
redis.call('SET', KEYS[1], '', 'PX', ARGV[2])
local marks, freed = string.sub(KEYS[1], 1, -1 - #ARGV[1]), 0
for i = 2, #KEYS do
    local groups = redis.pcall('XINFO', 'GROUPS', KEYS[i])
    for _, each in ipairs(groups.err and {} or groups) do
        local client = client_of(each[2])
        -- A mark that is on its way to another node is an error here, and none that is missing.
        if client and client ~= ARGV[1] and redis.pcall('EXISTS', marks .. client) == 0 then
            freed = freed + redis.call('XGROUP', 'DESTROY', KEYS[i], each[2])
        end
    end
end
return freed

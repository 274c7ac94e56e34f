-- With groups.lua before it.
-- Has a client known to be alive, and frees the groups that clients which are not have left in some streams. It looks
-- and frees in one step: a group is never taken from a client that has just been heard of.
-- KEYS: the client's mark; then streams of the same partition: none where the client is to be known only. ARGV: the
--       client; milliseconds until it counts as dead.
-- Returns how many groups were freed, the most that one of the streams has, and at how many streams it looked.
redis.call('SET', KEYS[1], '', 'PX', ARGV[2])
local marks, freed, most = string.sub(KEYS[1], 1, -1 - #ARGV[1]), 0, 0
local lives = {[ARGV[1]] = true}
for i = 2, #KEYS do
    local groups = redis.pcall('XINFO', 'GROUPS', KEYS[i])
    for _, each in ipairs(groups.err and {} or groups) do
        local client = client_of(each[2])
        if client and lives[client] == nil then
            -- A mark that is on its way to another node is an error where it was, so its client counts as alive. Where it
            -- comes to, one that is not there yet is as good as none: a client whose group is taken so makes it anew.
            lives[client] = redis.pcall('EXISTS', marks .. client) ~= 0
        end
        if client and not lives[client] then
            freed = freed + redis.call('XGROUP', 'DESTROY', KEYS[i], each[2])
        end
    end
    most = math.max(most, groups.err and 0 or #groups)
end
return {freed, most, #KEYS - 1}

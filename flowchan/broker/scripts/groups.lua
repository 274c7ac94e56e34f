-- Whose a group is: of a receiver that has no name for it, the client that made it; nil where people named it.
local function client_of(group)
    return string.match(group, '^(flowchan%-%x+)%-%d+%-%d+$')
end

-- Whether people named one of a stream's groups: what it has not done yet is to be done. So, too, where nobody says.
local function is_worked_on(stream)
    local groups = redis.pcall('XINFO', 'GROUPS', stream)
    if groups.err then
        return true
    end
    for _, each in ipairs(groups) do
        if not client_of(each[2]) then
            return true
        end
    end
    return false
end


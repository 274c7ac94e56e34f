-- Whose a group is: of a receiver that has no name for it, the client that made it; nil where people named it.
local function client_of(group)
    return string.match(group, '^(flowchan%-%x+)%-%d+%-%d+$')
end


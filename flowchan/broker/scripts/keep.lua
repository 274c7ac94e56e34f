-- With keeping.lua before it.
-- KEYS: a channel's stream that was sent to; its run's record. ARGV: milliseconds to keep it; the same after the end; the
-- channel.
keep_channel(KEYS[1], KEYS[2], tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3])
return 1

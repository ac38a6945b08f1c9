-- take_turn.lua: let one caller at a time do something that is needed now and then.
-- KEYS  1 meta
-- ARGV  1 the field of `meta` that keeps when somebody did it last   2 ms from one turn to the next
-- Returns 1 if it is the caller's turn, else 0.

allow_beyond_memory_limit()
local gap = now - tonumber(redis.call('HGET', meta, ARGV[1]) or '0')
if gap >= 0 and gap < tonumber(ARGV[2]) then return 0 end
redis.call('HSET', meta, ARGV[1], int(now))
return 1

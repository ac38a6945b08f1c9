-- layout.lua: say which layout a queue has; one that is new gets this smalti's, also where Redis is at its memory limit.
-- KEYS  1 meta
-- ARGV  1 layout of this smalti
-- Returns the layout.

allow_beyond_memory_limit()
redis.call('HSETNX', meta, 'schema', ARGV[1])
return redis.call('HGET', meta, 'schema')

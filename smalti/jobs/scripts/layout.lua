-- layout.lua: say which layout a queue has. A new queue gets this smalti's, even if Redis is at its memory limit.
-- KEYS  1 meta
-- ARGV  1 this smalti's layout
-- Returns the queue's layout.

allow_beyond_memory_limit()
redis.call('HSETNX', meta, 'schema', ARGV[1])
return redis.call('HGET', meta, 'schema')

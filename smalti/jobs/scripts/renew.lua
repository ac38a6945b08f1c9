-- renew.lua: renew the lease of a worker, so that it keeps its samples.
-- KEYS  1 meta
-- ARGV  1 worker   2 lease, ms
-- Returns 1 if renewed, 0 if the lease has run out and the samples were given back. A lease that ran out while nobody
-- recovered is renewed: no other worker can have the samples yet.

allow_beyond_memory_limit()
local workers = key('workers')
keep_worker(ARGV[1], tonumber(ARGV[2]))
redis.call('ZADD', workers, 'XX', int(now + tonumber(ARGV[2])), ARGV[1])
return redis.call('ZSCORE', workers, ARGV[1]) and 1 or 0

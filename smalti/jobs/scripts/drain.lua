-- drain.lua: ask a worker to stop. It gets no more samples, and gives back what it holds when it hears of this.
-- KEYS  1 meta
-- ARGV  1 worker
-- Returns 1, or 0 if no worker of that name has a lease.

if not redis.call('ZSCORE', key('workers'), ARGV[1]) then return 0 end
allow_beyond_memory_limit()
redis.call('HSET', key('worker', ARGV[1]), 'draining', '1')
return 1

-- pause_pool.lua: stop handing out samples, or hand them out again. Samples that workers hold are drawn to their ends.
-- KEYS  1 meta
-- ARGV  1 1 to pause, 0 to go on
-- Returns nothing.

allow_beyond_memory_limit()
if ARGV[1] == '1' then
  redis.call('HSET', meta, 'paused', '1')
else
  redis.call('HDEL', meta, 'paused')
  interactive = true
  ring_bell()
end

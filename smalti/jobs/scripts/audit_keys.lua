-- audit_keys.lua: forget what is left of jobs that are gone: their keys expire, and no list has them.
-- KEYS  1 meta
-- ARGV  1… for each: a job id, the name of a key without prefix, and the job's member in it, '' for a key of the job alone
-- Returns the number of keys and members that had been left.

allow_beyond_memory_limit()
local strays = 0
for place = 1, #ARGV, 3 do
  local name, member = prefix .. ARGV[place + 1], ARGV[place + 2]
  if redis.call('EXISTS', key('job', ARGV[place])) == 0 and not has_chores(ARGV[place]) then
    if member ~= '' then strays = strays + redis.call('ZREM', name, member)
    elseif redis.call('PTTL', name) == -1 then strays = strays + redis.call('PEXPIRE', name, TTL_MARGIN) end
  end
end
return strays

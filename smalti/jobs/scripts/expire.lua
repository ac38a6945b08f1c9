-- expire.lua: do what other scripts put down in `chores`, then forget jobs whose retention has passed.
-- KEYS  1 meta
-- ARGV  1 most jobs to forget in this call
-- Returns {jobs forgotten, 1 if there is more to do, else 0}. If Redis removed a job's record first, because nobody called
-- this for long, the next recount corrects the totals.

allow_beyond_memory_limit()
local DO = {age = age_results, forget = forget_results, drop = forget_dropped}

local function do_chores()
  while room > 0 do
    local chore, left = unpack(redis.call('ZRANGE', key('chores'), '0', '0', 'WITHSCORES'))
    if not chore then return end
    local what, whose = string.match(chore, '^(%a+) (.+)$')
    DO[what](whose, tonumber(left))
    room = room - 1  -- one that is found done is work, too
  end
end

local function due_jobs(most)
  return redis.call('ZRANGEBYSCORE', key('expiry'), '-inf', int(now), 'LIMIT', '0', int(most))
end

local function forget(member)
  local id, client = string.match(member, '^(%S*) ?(.*)$')
  local job = find_even_damaged(id)
  if job and job.damaged then forget_damaged(job) elseif job then forget_job(job) end
  unlist(id, client)
  redis.call('ZREM', key('expiry'), member)
end

do_chores()
local forgotten = 0
for _, member in ipairs(due_jobs(tonumber(ARGV[1]))) do
  if room > 0 then
    forget(member)
    forgotten = forgotten + 1
  end
end
write_sums()
local is_done = redis.call('EXISTS', key('chores')) == 0 and #due_jobs(1) == 0
return {forgotten, is_done and 0 or 1}

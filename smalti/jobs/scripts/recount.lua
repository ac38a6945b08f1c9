-- recount.lua: compute the totals again, a page of jobs at a time, and replace them at the end.
-- What a script left undone, because Redis refused a command half way, is done here: a job is in the list of its client,
-- claimable if it has ready samples, and known by its deadline; a list has no job without a record.
-- While a recount is under way, `charge` changes the counts of jobs that it has passed. New jobs come after those. So the
-- counts are right at the end, and what an interrupted script or a damaged record left wrong in the totals is gone.
-- After the last job the two are compared, a page of clients at a time; meanwhile `charge` changes both.
-- KEYS  1 meta
-- ARGV  1 most jobs to count, or about as many totals to compare, in this call   2 ms from the end of a recount to the beginning of the next
-- Returns {1 if there is more to count now, else 0; number of totals that were wrong; ids of damaged jobs…}.

allow_beyond_memory_limit()
local EVERY_JOB = 999999999999999  -- larger than any serial number
local last = tonumber(redis.call('HGET', meta, 'recounted') or '0')
if last == 0 then
  local gap = now - tonumber(redis.call('HGET', meta, 'recount_ended') or '0')
  if gap >= 0 and gap < tonumber(ARGV[2]) then return {0, 0} end
  redis.call('UNLINK', key('recount'))
end

local answer, recount = {0, 0}, key('recount')

local function add_to(job, what, number)
  count(recount, what, number)
  count(recount, what .. ' ' .. job.client, number)
end

local function count_job(job)
  redis.call('ZADD', key('jobs', job.client), int(job.serial), job.id)
  add_to(job, 'bytes', bytes_of(job))
  if job.state == 'SUCCEEDED' or job.state == 'FAILED' or job.state == 'CANCELLED' then return end
  add_to(job, 'jobs', 1)
  add_to(job, 'running', redis.call('SCARD', key('running', job.id)))
  local is_paused = job.state == 'PAUSED'
  if is_paused then add_to(job, 'paused', 1) end
  local ready = job.state ~= 'CANCELLING' and not is_paused and waiting_samples(job) or 0
  add_to(job, 'ready', ready)
  if ready > 0 then list_ready(job, 'NX', '0', job.id) end
  if job.deadline > 0 and job.state ~= 'CANCELLING' then
    redis.call('ZADD', key('deadlines'), 'NX', int(job.deadline), job.id)
  end
  add_to(job, 'pixels', (job.count - job.done - job.failed - job.cancelled) * job.sample_pixels)
end

-- Count a page of jobs; returns whether it was the last one.
local function count_page()
  local page = redis.call('ZRANGEBYSCORE', key('jobs'), '(' .. int(last), '+inf', 'WITHSCORES', 'LIMIT', '0', ARGV[1])
  for position = 1, #page, 2 do
    local job = find_even_damaged(page[position])
    if not job then
      redis.call('ZREM', key('jobs'), page[position])
      redis.call('ZREM', key('queued'), page[position])
    elseif job.damaged then answer[#answer + 1] = job.id
    else count_job(job) end
  end
  write_sums()
  local is_last = #page < 2 * tonumber(ARGV[1])
  redis.call('HSET', meta, 'recounted', is_last and int(EVERY_JOB) or page[#page], 'compared', 'totals 0')
  return is_last
end

-- Compare a page of a hash with the same fields of another; returns where the next page begins, '0' if there is none.
-- Fields that both have are compared once, with those of the totals.
local function compare(name, other, cursor)
  local next, fields = unpack(redis.call('HSCAN', key(name), cursor, 'COUNT', ARGV[1]))
  for position = 1, #fields, 2 do
    local value = redis.call('HGET', key(other), fields[position])
    local is_counted = name == 'recount' and value
    if not is_counted and fields[position + 1] ~= (value or '0') then answer[2] = answer[2] + 1 end
  end
  return next
end

-- Compare a page of the totals with the recount, or of the recount with the totals; returns whether it was the last one.
local function compare_page()
  local name, cursor = string.match(redis.call('HGET', meta, 'compared') or 'totals 0', '^(%a+) (%d+)$')
  local next = compare(name, name == 'totals' and 'recount' or 'totals', cursor)
  if next == '0' and name == 'recount' then return true end
  redis.call('HSET', meta, 'compared', next == '0' and 'recount 0' or name .. ' ' .. next)
  return false
end

if last < EVERY_JOB and not count_page() then return {1, unpack(answer, 2)} end
if not compare_page() and not compare_page() then return {1, unpack(answer, 2)} end
redis.call('UNLINK', key('totals'))
if redis.call('EXISTS', recount) == 1 then redis.call('RENAME', recount, key('totals')) end
redis.call('HSET', meta, 'recounted', '0', 'recount_ended', int(now))
return answer

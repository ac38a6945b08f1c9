-- requests.lua: read the requests of jobs, without kept pixels, as far as a client may see them.
-- KEYS  1 meta
-- ARGV  1 the client that asks   2 1 if it sees the jobs of all clients   3… job ids
-- Returns for each id {'FOUND', request, bytes of its kept pixels (-1 if the record lacks them), client},
-- {'DAMAGED'}, or {'MISSING'} if the client sees no such job.

local answers = {}
for place = 3, #ARGV do
  local job = find_for(ARGV[1], ARGV[2], ARGV[place])
  if not job then
    answers[#answers + 1] = {'MISSING'}
  elseif job.damaged then
    answers[#answers + 1] = {'DAMAGED'}
  else
    local kept = redis.call('HEXISTS', job.key, 'kept') == 1 and redis.call('HSTRLEN', job.key, 'kept') or -1
    answers[#answers + 1] = {'FOUND', redis.call('HGET', job.key, 'request'), kept, job.client}
  end
end
return answers
